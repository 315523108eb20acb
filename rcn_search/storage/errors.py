"""Errors of storage."""

from __future__ import annotations

from rcn_search.errors import RcnSearchError


class StorageError(RcnSearchError):
    """A location cannot be used; the message names it, the cause and the remedy."""


class RemoteError(OSError, StorageError):
    """An object store failed in a way for which Python has no class of its own."""


class ObjectExistsError(FileExistsError):
    """Put-if-absent found an object of that name; nothing was written."""
