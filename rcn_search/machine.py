"""Resources of this machine that several parts of the package use: CPU cores and the cache folder."""

from __future__ import annotations

import os
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
