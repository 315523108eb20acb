"""Objects in folders of this machine: written beside their name, synced (fsspec never does), then renamed to it."""

from __future__ import annotations

import errno
import os
import re
import stat
import uuid
from pathlib import Path

from rcn_search.storage.errors import ObjectExistsError, StorageError

_ONE_SLASH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/(?!/)")
"""Beginning of a URI that lacks a slash; a single letter would be a drive of Windows."""


def is_local(uri: str) -> bool:
    """Whether ``uri`` is a path or a ``file://`` URI of this machine."""
    return "://" not in uri or uri.startswith("file://")


def local_path(uri: str) -> Path:
    """Convert a local URI to a path.

    Raises:
        StorageError: ``uri`` is not local, or not a path that this machine can have.
    """
    if not is_local(uri):
        raise StorageError(f"{uri} is not on this machine's disk; name a local file or folder")
    if _ONE_SLASH.match(uri):
        scheme, _, rest = uri.partition(":/")
        meant = f"file:///{rest}" if scheme == "file" else f"{scheme}://{rest}"
        raise StorageError(f"{uri} has one slash after {scheme}: write {meant}, or ./{uri} if it is a folder")
    if "\0" in uri:
        raise StorageError(f"{uri!r} is not a path: it holds a character with the code 0")
    if uri.startswith("file://"):
        host, _, path = uri.removeprefix("file://").partition("/")
        if host not in ("", "localhost"):
            raise StorageError(f"{uri} names a machine, {host!r}; write file:///{path}, or the path alone")
        return Path(f"/{path}")
    try:
        return Path(uri).expanduser()
    except RuntimeError:
        user = uri.removeprefix("~").partition("/")[0]
        reason = f"there is no user {user!r} with a home folder" if user else "this user has no home folder"
        raise StorageError(f"{uri}: {reason}; write the whole path") from None


def read(path: Path, max_bytes: int | None) -> bytes:
    """Read a whole file; the conditions are those of `rcn_search.storage.read_bytes`."""
    if max_bytes is None:
        return path.read_bytes()
    # A pipe without a writer would be waited for without O_NONBLOCK.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise StorageError(f"{path} is a device or a pipe, not a file")
        content = b""
        while part := os.read(descriptor, min(max_bytes, max(status.st_size, 2**12)) + 1 - len(content)):
            content = content + part if content else part
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        raise too_large(str(path), max_bytes)
    return content


def too_large(uri: str, max_bytes: int) -> StorageError:
    """Build the error to raise for an object of more than ``max_bytes``."""
    return StorageError(f"{uri} is too large: of such an object at most {max_bytes:,} bytes are read")


def read_range(path: Path, start: int, stop: int) -> bytes:
    """Read the bytes from ``start`` to before ``stop``, or to the end of the file if that comes first."""
    with path.open("rb") as stream:
        stream.seek(start)
        return stream.read(stop - start)


def write(path: Path, content: bytes | memoryview, *, if_absent: bool) -> None:
    """Publish ``content`` at ``path`` in one step; the conditions are those of `rcn_search.storage.write_bytes`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        publish_file(temporary, path, if_absent=if_absent)
    except OSError as error:
        if error.errno and error.filename is None:  # a disk that is full or fails has no file name
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def publish_file(temporary: Path, path: Path, *, if_absent: bool = False) -> None:
    """Move a finished, synced file to its name in one step.

    Raises:
        ObjectExistsError: ``if_absent`` is set and ``path`` exists.
    """
    if if_absent:
        try:
            os.link(temporary, path)  # refused by the file system when the name is taken
        except FileExistsError:
            raise ObjectExistsError(f"{path} exists already") from None
    else:
        temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder, and its file system journals names
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def names(folder: Path) -> list[str]:
    """List the names in ``folder``; empty where there is no such folder."""
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
