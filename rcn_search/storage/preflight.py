"""Check of a location before a search or a training relies on it."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier

from rcn_search import storage
from rcn_search.storage.errors import ObjectExistsError, StorageError

_NUM_WRITERS = 4
_START_TIMEOUT_S = 30


def preflight(uri: str) -> None:
    """Write, read, put if absent, list and delete once in the folder ``uri``, as a search will.

    It takes about ten requests. Nothing is left behind, and no listing shows the objects in between.

    Raises:
        StorageError: An operation fails, or a put-if-absent overwrites or has more than one winner.
    """
    prefix = storage.join(_existing_folder(uri), f".preflight-{uuid.uuid4().hex}")
    written, raced = f"{prefix}-written.tmp", f"{prefix}-raced.tmp"
    try:
        try:
            _check_round_trip(written)
            if not uri.startswith("memory://"):  # its put-if-absent is not atomic between threads
                _check_race(raced)
        finally:
            for name in (written, raced):
                with suppress(OSError):  # the first error is the one to report
                    storage.delete(name)
    except OSError as error:
        raise StorageError(f"{uri} cannot be used: {error}") from error


def _existing_folder(uri: str) -> str:
    """Find the innermost existing folder of ``uri``, so that a check creates none; object stores have no folders."""
    if not storage.is_local(uri):
        return uri
    path = storage.local_path(uri).resolve()
    return str(next(folder for folder in (path, *path.parents) if folder.exists()))


def _check_round_trip(uri: str) -> None:
    content = uuid.uuid4().bytes
    storage.write_bytes(uri, content)
    with suppress(ObjectExistsError):
        storage.write_bytes(uri, b"overwritten", if_absent=True)
    if storage.read_bytes(uri) != content:
        raise StorageError(
            f"{uri} was overwritten by a put-if-absent: this store ignores If-None-Match, so two search processes "
            "could run the same study. Use a store that supports it (AWS S3, Ceph, MinIO, OpenStack Swift)"
        )
    storage.list_names(uri.rpartition("/")[0])
    storage.delete(uri)
    if storage.exists(uri):
        raise StorageError(f"{uri} was deleted and still exists: this store is not consistent")


def _check_race(uri: str) -> None:
    start = Barrier(_NUM_WRITERS, timeout=_START_TIMEOUT_S)  # otherwise they might run one after another

    def wins(content: bytes) -> bool:
        start.wait()
        try:
            storage.write_bytes(uri, content, if_absent=True)
        except ObjectExistsError:
            return False
        return True

    contents = [uuid.uuid4().bytes for _ in range(_NUM_WRITERS)]
    try:
        with ThreadPoolExecutor(_NUM_WRITERS) as pool:
            winners = [content for content, won in zip(contents, pool.map(wins, contents), strict=True) if won]
    except RuntimeError as error:  # raised by Python where a process may have no more threads
        raise StorageError(
            f"{_NUM_WRITERS} threads could not be started to check {uri}: {error}; see ulimit -u and, in a container, "
            "its limit on processes"
        ) from error
    if winners != [storage.read_bytes(uri)]:
        raise StorageError(
            f"{len(winners)} of {_NUM_WRITERS} simultaneous writers were told that they created {uri}: this store does "
            "not enforce If-None-Match, so two search processes could run the same study. Use one that does (AWS S3, "
            "Ceph, MinIO)"
        )
