"""The machine and process that this package runs on: CPU cores, user, cache folder and garbage collector."""

from __future__ import annotations

import gc
import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rcn_search.errors import RcnSearchError


class CacheFolderError(OSError, RcnSearchError):
    """A cache folder cannot be used. Also an OSError, so that what can do without a cache handles one kind of error."""


def num_cpus() -> int:
    """Number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def user_at_host() -> str:
    """Name who runs this process, as in ``ann@lab1``; ``uid 1000770000@lab1`` where the user has no name."""
    try:
        user = getpass.getuser()
    except (KeyError, ImportError, OSError):  # a container may run under a number that is in no list of users
        user = f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown user"
    return f"{user}@{socket.gethostname()}"


def cache_folder(name: str) -> Path:
    """Path of a folder for data that can be made again, in RCN_SEARCH_CACHE or the user's cache folder.

    Raises:
        CacheFolderError: RCN_SEARCH_CACHE is not set, and the user has no home folder.
    """
    if root := os.environ.get("RCN_SEARCH_CACHE"):
        return Path(root) / name
    try:
        return Path.home() / ".cache" / "rcn-search" / name
    except RuntimeError:
        raise CacheFolderError("this user has no home folder: set RCN_SEARCH_CACHE to a folder for caches") from None


@contextmanager
def cache_required(uri: str) -> Iterator[None]:
    """Name the setting of the cache folder in an error of the disk, within which the object ``uri`` is copied there.

    Raises:
        CacheFolderError: In place of an error of the disk; errors of `rcn_search.storage`, without a number, stay.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise CacheFolderError(
            f"{error.filename}: {error.strerror}; {uri} must be copied to this machine: set RCN_SEARCH_CACHE to a "
            "folder with enough space that can be written to"
        ) from error


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector: reading 10,000 trials creates a million objects, and searching them takes 1 s."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
