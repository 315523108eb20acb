"""Where the leaderboard is."""

from __future__ import annotations

import os
from pathlib import Path

from rcn_search.cluster.ray_job import check_outlives_job

BOARD_VARIABLE = "RCN_SEARCH_LEADERBOARD"

REPOSITORY_BOARD = Path(__file__).parents[2] / "leaderboard"


def default_board() -> str:
    """Where the board is when nobody says: $RCN_SEARCH_LEADERBOARD, ./leaderboard, or that of the source tree we run from.

    Raises:
        ValueError: None of them is there.
    """
    if os.environ.get(BOARD_VARIABLE):
        return os.environ[BOARD_VARIABLE]
    for folder in (Path("leaderboard"), REPOSITORY_BOARD):
        if folder.is_dir():
            return str(folder)
    raise ValueError(f"no leaderboard: there is no folder ./leaderboard; name one with --leaderboard or ${BOARD_VARIABLE}")


def lasting_board(named: str) -> str:
    """URI of the board: the one that is named, else the default one.

    Raises:
        ConfigError: It would be gone with the job.
        ValueError: There is none.
    """
    uri = named or default_board()
    check_outlives_job(uri, "--leaderboard")
    return uri
