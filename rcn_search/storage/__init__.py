"""Objects at URIs: a folder, ``s3://``, ``memory://`` or anything else fsspec knows, with whole-object writes only.

A reader never sees half an object. On a local disk an object is written beside its place, synced and renamed (or
hard-linked, which the file system refuses when the name is taken); on an object store a put is whole by itself.
Local paths stay plain paths here: fsspec adds nothing to them but a way to forget ``fsync``. All else is in
`rcn_search.storage.object_store`.
"""

from __future__ import annotations

import json
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier
from typing import Any

from rcn_search.errors import RcnSearchError
from rcn_search.storage import object_store as storage_remote
from rcn_search.storage.object_store import ObjectExistsError as ObjectExistsError

_NUM_RACERS = 4
_RACE_STARTS_WITHIN_S = 30


class StorageError(RcnSearchError):
    """A place cannot be used for what a search needs; the message names it, the cause and the remedy."""


def is_local(uri: str) -> bool:
    """Whether ``uri`` is a path or ``file://`` of this machine."""
    return "://" not in uri or uri.startswith("file://")


def local_path(uri: str) -> Path:
    """The path of a local URI.

    Raises:
        ValueError: ``uri`` is not local.
    """
    if not is_local(uri):
        raise ValueError(f"{uri} is not on this machine's disk")
    return Path(uri.removeprefix("file://")).expanduser()


def join(uri: str, *parts: str) -> str:
    """``uri`` with ``parts`` appended, by ``/``."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts)])


def absolute(uri: str) -> str:
    """The same place, independent of the working directory (Ray trials run in another one)."""
    return str(local_path(uri).resolve()) if is_local(uri) else uri


def read_bytes(uri: str) -> bytes:
    """The whole object.

    Raises:
        FileNotFoundError: There is none.
    """
    if is_local(uri):
        return local_path(uri).read_bytes()
    return storage_remote.read(uri)


def read_range(uri: str, start: int, stop: int) -> bytes:
    """Bytes of an object from ``start`` to before ``stop``, or to its end if that comes first.

    Raises:
        FileNotFoundError: There is none.
    """
    if not is_local(uri):
        return storage_remote.read_range(uri, start, stop)
    with local_path(uri).open("rb") as stream:
        stream.seek(start)
        return stream.read(stop - start)


def write_bytes(uri: str, content: bytes | memoryview, *, if_absent: bool = False) -> None:
    """Publish ``content`` whole, replacing what is there unless ``if_absent``.

    Raises:
        ObjectExistsError: ``if_absent`` and the name is taken.
        OSError: The disk is full, access is denied, and so on; the old object, if any, is still there.
    """
    if not is_local(uri):
        (storage_remote.create if if_absent else storage_remote.write)(uri, bytes(content))
        return
    path = local_path(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        publish_file(temporary, path, if_absent=if_absent)
    except OSError as error:
        if error.errno and error.filename is None:  # as of a full disk, or one that fails
            error.filename = uri
        raise
    finally:
        temporary.unlink(missing_ok=True)


def publish_file(temporary: Path, path: Path, *, if_absent: bool = False) -> None:
    """Move a finished, synced local file to its name in one step.

    Raises:
        ObjectExistsError: ``if_absent`` and the name is taken.
    """
    if if_absent:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise ObjectExistsError(f"{path} exists already") from None
    else:
        temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exists(uri: str) -> bool:
    """Whether there is an object or a folder at ``uri``."""
    if is_local(uri):
        return local_path(uri).exists()
    return storage_remote.exists(uri)


def list_names(uri: str) -> list[str]:
    """Sorted names right under the folder ``uri``, without unfinished writes; none where there is no such folder."""
    if is_local(uri):
        folder = local_path(uri)
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    else:
        names = storage_remote.names(uri)
    return sorted(name for name in names if not name.endswith(".tmp"))


def delete(uri: str) -> None:
    """Remove one object; nothing happens where there is none."""
    if is_local(uri):
        local_path(uri).unlink(missing_ok=True)
    else:
        storage_remote.remove(uri)


def read_json(uri: str) -> Any:
    """The JSON document at ``uri``.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is not JSON; the message names the object.
    """
    try:
        return json.loads(read_bytes(uri))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{uri} is not valid JSON: {error}") from error


def write_json(uri: str, document: Any, *, if_absent: bool = False) -> None:
    """Publish ``document`` as JSON (no NaN: it is not JSON). See `write_bytes`."""
    write_bytes(uri, as_json(document), if_absent=if_absent)


def as_json(document: Any) -> bytes:
    """What `write_json` writes."""
    return (json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def preflight(uri: str) -> None:
    """Do once what a search will do all the time: write, read, put if absent, list and delete in the folder ``uri``.

    Nothing is left behind, and no listing shows what is there in between. Takes some ten requests.

    Raises:
        StorageError: One of them is not possible, no thread can be started, or a put-if-absent overwrites or has more
            than one winner: two drivers could then take the same study.
    """
    place = join(_existing(uri), f".preflight-{uuid.uuid4().hex}")
    written, raced = f"{place}-written.tmp", f"{place}-raced.tmp"
    try:
        try:
            _check_round_trip(written)
            if not uri.startswith("memory://"):  # one process, whose threads never race for a name
                _check_race(raced)
        finally:
            for name in (written, raced):
                with suppress(OSError):  # then what went wrong first is the news
                    delete(name)
    except OSError as error:
        raise StorageError(f"{uri} cannot be used: {error}") from error


def _existing(uri: str) -> str:
    """What is there and will hold ``uri``, so that a check makes no folder; on object stores all are there."""
    if not is_local(uri):
        return uri
    path = local_path(uri).resolve()
    return str(next(each for each in (path, *path.parents) if each.exists()))


def _check_round_trip(place: str) -> None:
    content = uuid.uuid4().bytes
    write_bytes(place, content)
    with suppress(ObjectExistsError):
        write_bytes(place, b"overwritten", if_absent=True)
    if read_bytes(place) != content:
        raise StorageError(
            f"{place} was overwritten by a put-if-absent: this store ignores If-None-Match, so two drivers could take "
            "the same study. Use a store that knows it (AWS S3, Ceph, MinIO, OpenStack Swift)"
        )
    list_names(place.rpartition("/")[0])
    delete(place)
    if exists(place):
        raise StorageError(f"{place} was deleted and is still there: this store is not consistent")


def _check_race(place: str) -> None:
    start = Barrier(_NUM_RACERS, timeout=_RACE_STARTS_WITHIN_S)  # else they may run one after the other: no race

    def won(content: bytes) -> bool:
        start.wait()
        try:
            write_bytes(place, content, if_absent=True)
        except ObjectExistsError:
            return False
        return True

    contents = [uuid.uuid4().bytes for _ in range(_NUM_RACERS)]
    try:
        with ThreadPoolExecutor(_NUM_RACERS) as pool:
            winners = [content for content, has_won in zip(contents, pool.map(won, contents), strict=True) if has_won]
    except RuntimeError as error:  # Python's, where a process may have no more threads
        raise StorageError(
            f"{_NUM_RACERS} threads could not be started to try {place}: {error}; see ulimit -u and, in a container, "
            "its limit of processes"
        ) from error
    if winners != [read_bytes(place)]:
        raise StorageError(
            f"{len(winners)} of {_NUM_RACERS} writers at once were told that {place} is theirs: this store does not "
            "keep If-None-Match, so two drivers could take the same study. Use one that does (AWS S3, Ceph, MinIO)"
        )
