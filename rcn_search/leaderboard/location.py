"""Location of the leaderboard: named by the user, by an environment variable, or a folder of the user's project.

In a checkout of rcn-search ``./leaderboard`` is the repository's: it is shown by default, but new results go to
``runs/leaderboard`` unless it is named, or an evaluation of a user would change the repository and count there.
"""

from __future__ import annotations

import os
from pathlib import Path

from rcn_search.cluster.ray_job import check_outlives_job
from rcn_search.errors import RcnSearchError
from rcn_search.resources import is_checkout, resource_path

LEADERBOARD_VARIABLE = "RCN_SEARCH_LEADERBOARD"
PROJECT_LEADERBOARD = resource_path("leaderboard")
"""The leaderboard of the checkout; in an installed package the published rows alone, which nothing may be added to."""

_OWN, _OWN_IN_CHECKOUT = Path("leaderboard"), Path("runs/leaderboard")
_REMEDY = f"name a folder or URI with --leaderboard or ${LEADERBOARD_VARIABLE}"


def default_leaderboard() -> str:
    """Find the leaderboard that is shown: $RCN_SEARCH_LEADERBOARD, ./leaderboard, or the project's.

    Raises:
        RcnSearchError: None of them exists.
    """
    if os.environ.get(LEADERBOARD_VARIABLE):
        return os.environ[LEADERBOARD_VARIABLE]
    for folder in (_OWN, PROJECT_LEADERBOARD):
        if folder.is_dir():
            return str(folder)
    raise RcnSearchError(f"there is no leaderboard: {_REMEDY}")


def resolve_leaderboard(named: str) -> str | None:
    """Find the leaderboard that new results go to: the named one, $RCN_SEARCH_LEADERBOARD, or the user's own folder.

    The folder need not exist. None if none is named and the user's own would not outlive a Ray job.

    Raises:
        RcnSearchError: The named leaderboard is part of the package, or would be deleted with the Ray job.
    """
    uri = named or os.environ.get(LEADERBOARD_VARIABLE) or _own_leaderboard()
    try:
        return _require_writable(uri)
    except RcnSearchError:
        if named:
            raise
        return None


def existing_leaderboard(named: str) -> str:
    """Find the leaderboard whose entries a command changes: the named one, else the one that is shown.

    Raises:
        RcnSearchError: It is part of the package, or would be deleted with the Ray job.
    """
    return _require_writable(named or default_leaderboard())


def _own_leaderboard() -> str:
    project = PROJECT_LEADERBOARD.resolve()
    is_own = _OWN.is_dir() and _OWN.resolve() != project
    if is_own or not is_checkout() or not Path.cwd().resolve().is_relative_to(project.parent):
        return str(_OWN)
    return os.path.relpath(project.parent / _OWN_IN_CHECKOUT)


def _require_writable(uri: str) -> str:
    if uri == str(PROJECT_LEADERBOARD) and not is_checkout():
        raise RcnSearchError(f"{uri} is part of the installed package: {_REMEDY}")
    check_outlives_job(uri, "--leaderboard")
    return uri


def require_leaderboard(uri: str | None) -> str:
    """Return ``uri``; raise `RcnSearchError` if it is None, because something is to be written there."""
    if uri is None:
        raise RcnSearchError(f"the results must be recorded on a leaderboard, and there is none: {_REMEDY}")
    return uri
