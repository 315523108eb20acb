"""Objects in folders of this machine: written beside their name, synced (fsspec never does), then renamed to it."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from rcn_search.storage.errors import ObjectExistsError, StorageError


def is_local(uri: str) -> bool:
    """Whether ``uri`` is a path or a ``file://`` URI of this machine."""
    return "://" not in uri or uri.startswith("file://")


def local_path(uri: str) -> Path:
    """Convert a local URI to a path.

    Raises:
        StorageError: ``uri`` is not local.
    """
    if not is_local(uri):
        raise StorageError(f"{uri} is not on this machine's disk; name a local file or folder")
    return Path(uri.removeprefix("file://")).expanduser()


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
