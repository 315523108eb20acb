"""Objects at URIs: a folder, ``s3://``, ``memory://`` or any other store of fsspec, with whole-object writes only.

A reader never sees half an object: local files are written beside their name and renamed (`rcn_search.storage.local`),
and a put to an object store is whole by itself (`rcn_search.storage.object_store`).
"""

from __future__ import annotations

from typing import Any

from rcn_search.storage import local, object_store
from rcn_search.storage.errors import ObjectExistsError as ObjectExistsError
from rcn_search.storage.errors import StorageError as StorageError
from rcn_search.storage.json_format import MAX_JSON_BYTES as MAX_JSON_BYTES
from rcn_search.storage.json_format import MAX_JSON_VALUES as MAX_JSON_VALUES
from rcn_search.storage.json_format import decode_json as decode_json
from rcn_search.storage.json_format import encode_json as encode_json
from rcn_search.storage.local import is_local as is_local
from rcn_search.storage.local import local_path as local_path
from rcn_search.storage.local import publish_file as publish_file
from rcn_search.storage.user_info import hide_user_info as hide_user_info
from rcn_search.storage.user_info import refuse_user_info as refuse_user_info
from rcn_search.storage.user_info import without_user_info as without_user_info


def join(uri: str, *parts: str) -> str:
    """Append ``parts`` to ``uri``, separated by single slashes."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts)])


def absolute(uri: str) -> str:
    """Make a local path independent of the working directory, which Ray changes for trials."""
    return str(local_path(uri).resolve()) if is_local(uri) else uri


def read_bytes(uri: str, *, max_bytes: int | None = None) -> bytes:
    """Read a whole object. With ``max_bytes`` it may come from anybody: no more is read, and no device or pipe.

    Raises:
        FileNotFoundError: There is no such object.
        StorageError: It has more than ``max_bytes``, or is no regular file.
    """
    return local.read(local_path(uri), max_bytes) if is_local(uri) else object_store.read(uri, max_bytes)


def read_range(uri: str, start: int, stop: int) -> bytes:
    """Read the bytes from ``start`` to before ``stop``, or to the end of the object if that comes first.

    Raises:
        FileNotFoundError: There is no such object.
    """
    if is_local(uri):
        return local.read_range(local_path(uri), start, stop)
    return object_store.read_range(uri, start, stop)


def write_bytes(uri: str, content: bytes | memoryview, *, if_absent: bool = False) -> None:
    """Publish ``content`` as a whole object, replacing an existing one unless ``if_absent`` is set.

    Raises:
        ObjectExistsError: ``if_absent`` is set and there is an object of that name.
        OSError: The disk is full, access is denied, and so on; the old object, if any, is unchanged.
    """
    if is_local(uri):
        local.write(local_path(uri), content, if_absent=if_absent)
    elif if_absent:
        object_store.create(uri, bytes(content))
    else:
        object_store.write(uri, bytes(content))


def exists(uri: str) -> bool:
    """Whether there is an object or a folder at ``uri``."""
    return local_path(uri).exists() if is_local(uri) else object_store.exists(uri)


def list_names(uri: str) -> list[str]:
    """List the names directly in the folder ``uri``, sorted, without unfinished writes; empty if it does not exist."""
    names = local.names(local_path(uri)) if is_local(uri) else object_store.names(uri)
    return sorted(name for name in names if not name.endswith(".tmp"))


def delete(uri: str) -> None:
    """Delete one object, if it exists."""
    if is_local(uri):
        local_path(uri).unlink(missing_ok=True)
    else:
        object_store.delete(uri)


def read_json(uri: str) -> Any:
    """Read a JSON document, as `read_bytes` and `decode_json` do."""
    return decode_json(uri, read_bytes(uri, max_bytes=MAX_JSON_BYTES))


def write_json(uri: str, document: Any, *, if_absent: bool = False) -> None:
    """Publish ``document`` as JSON, as `write_bytes` does; NaN is refused with a ValueError."""
    write_bytes(uri, encode_json(document), if_absent=if_absent)
