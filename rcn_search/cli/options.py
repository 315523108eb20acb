"""Options that several commands have, declared once."""

from __future__ import annotations

from typing import Annotated

import typer

Leaderboard = Annotated[
    str,
    typer.Option(
        "--leaderboard",
        metavar="URI",
        help="Folder or URI of the leaderboard. Default: $RCN_SEARCH_LEADERBOARD, then ./leaderboard, then the one "
        "that comes with rcn-search.",
    ),
]
