"""The machine and process that this package runs on: CPU cores, cache folder and garbage collector."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def num_cpus() -> int:
    """Number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cache_folder(name: str) -> Path:
    """Path of a folder for data that can be made again, in RCN_SEARCH_CACHE or the user's cache folder."""
    root = os.environ.get("RCN_SEARCH_CACHE") or Path.home() / ".cache" / "rcn-search"
    return Path(root) / name


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
