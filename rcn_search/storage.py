"""Objects at URIs: a folder, ``s3://``, ``memory://`` or anything else fsspec knows, with whole-object writes only.

A reader never sees half an object. On a local disk an object is written beside its place, synced and renamed (or
hard-linked, which the file system refuses when the name is taken); on an object store a put is whole by itself.
Local paths stay plain paths here: fsspec adds nothing to them but a way to forget ``fsync``.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec


class ObjectExistsError(FileExistsError):
    """Put-if-absent found an object of that name; nothing was written."""


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
    with _remote(uri) as (filesystem, path):
        return bytes(filesystem.cat_file(path))


def write_bytes(uri: str, content: bytes | memoryview, *, if_absent: bool = False) -> None:
    """Publish ``content`` whole, replacing what is there unless ``if_absent``.

    Raises:
        ObjectExistsError: ``if_absent`` and the name is taken.
        OSError: The disk is full, access is denied, and so on; the old object, if any, is still there.
    """
    if not is_local(uri):
        _write_remote(uri, bytes(content), if_absent=if_absent)
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


@contextmanager
def _remote(uri: str) -> Iterator[tuple[Any, str]]:
    """The file system of a remote URI, and the path there. Nothing is cached: other processes write to it too."""
    try:
        yield fsspec.core.url_to_fs(uri, use_listings_cache=False)
    except (OSError, ValueError):
        raise
    except ImportError as error:
        raise ValueError(f"{uri}: {error}") from error
    except Exception as error:  # back ends have classes of their own for missing credentials or servers
        raise OSError(f"{uri}: {error}") from error


def _write_remote(uri: str, content: bytes, *, if_absent: bool) -> None:
    with _remote(uri) as (filesystem, path):
        if not if_absent:
            filesystem.pipe_file(path, content)
            return
        # "create" is S3's If-None-Match where the back end has it; the look before is for back ends without.
        if filesystem.exists(path):
            raise ObjectExistsError(f"{uri} exists already")
        try:
            filesystem.pipe_file(path, content, mode="create")
        except FileExistsError:
            raise ObjectExistsError(f"{uri} exists already") from None


def exists(uri: str) -> bool:
    """Whether there is an object or a folder at ``uri``."""
    if is_local(uri):
        return local_path(uri).exists()
    with _remote(uri) as (filesystem, path):
        return bool(filesystem.exists(path))


def list_names(uri: str) -> list[str]:
    """Sorted names right under the folder ``uri``, without unfinished writes; none where there is no such folder."""
    if is_local(uri):
        folder = local_path(uri)
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    else:
        with _remote(uri) as (filesystem, path):
            try:
                found = filesystem.ls(path, detail=False)
            except FileNotFoundError:
                found = []
        names = [str(name).rstrip("/").rsplit("/", 1)[-1] for name in found]
    return sorted(name for name in names if not name.endswith(".tmp"))


def delete(uri: str) -> None:
    """Remove one object; nothing happens where there is none."""
    if is_local(uri):
        local_path(uri).unlink(missing_ok=True)
        return
    with _remote(uri) as (filesystem, path):
        if filesystem.exists(path):
            filesystem.rm_file(path)


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
    content = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
    write_bytes(uri, (content + "\n").encode(), if_absent=if_absent)
