"""Location of the leaderboard: named by the user, by an environment variable, or one of two default folders."""

from __future__ import annotations

import os
from pathlib import Path

from rcn_search.cluster.ray_job import check_outlives_job
from rcn_search.errors import RcnSearchError
from rcn_search.resources import is_checkout, resource_path

LEADERBOARD_VARIABLE = "RCN_SEARCH_LEADERBOARD"
PROJECT_LEADERBOARD = resource_path("leaderboard")
"""The leaderboard of the checkout; in an installed package the published rows alone, which nothing may be added to."""

_REMEDY = f"name a folder or URI with --leaderboard or ${LEADERBOARD_VARIABLE}, or create the folder ./leaderboard"


def default_leaderboard() -> str:
    """Find $RCN_SEARCH_LEADERBOARD, ./leaderboard, or the project's; `RcnSearchError` if none of them exists."""
    if os.environ.get(LEADERBOARD_VARIABLE):
        return os.environ[LEADERBOARD_VARIABLE]
    for folder in (Path("leaderboard"), PROJECT_LEADERBOARD):
        if folder.is_dir():
            return str(folder)
    raise RcnSearchError(f"there is no leaderboard: {_REMEDY}")


def resolve_leaderboard(named: str) -> str | None:
    """Find the leaderboard that a command may write to: the named one, else the default one.

    None if none is named and there is no default one that outlives a Ray job.

    Raises:
        RcnSearchError: The named leaderboard is part of the package, or would be deleted with the Ray job.
    """
    try:
        uri = named or default_leaderboard()
        if uri == str(PROJECT_LEADERBOARD) and not is_checkout():
            raise RcnSearchError(f"{uri} is part of the installed package: {_REMEDY}")
        check_outlives_job(uri, "--leaderboard")
    except RcnSearchError:
        if named:
            raise
        return None
    return uri


def require_leaderboard(uri: str | None) -> str:
    """Return ``uri``; raise `RcnSearchError` if it is None, because something is to be written there."""
    if uri is None:
        raise RcnSearchError(f"the results must be recorded on a leaderboard, and there is none: {_REMEDY}")
    return uri
