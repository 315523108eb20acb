"""Marks and helpers for tests of stores."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from rcn_search.storage import object_store

every_store = pytest.mark.every_store
# Put-if-absent of fsspec's memory:// is not atomic between threads.
every_store_but_memory = pytest.mark.parametrize("store", ["file", "moto", "swift"], indirect=True)
on_a_server = pytest.mark.parametrize("store", ["moto", "swift"], indirect=True)


def free_at_first() -> Callable[[object_store._Store, str], str | None]:
    """A replacement of `_Store._mark` that finds the name free the first time in each thread."""
    real, seen = object_store._Store._mark, threading.local()

    def mark(store: object_store._Store, path: str) -> str | None:
        if not hasattr(seen, "once"):
            seen.once = True
            return None
        return real(store, path)

    return mark
