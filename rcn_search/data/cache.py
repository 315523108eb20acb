"""Cache of remote objects on the local disk of a node, each stored once under the hash of its content.

If several processes need an object, one fetches it and the others wait for a file lock, which the kernel releases when
that process dies. A file gets its final name after it is verified, and is verified again whenever it is opened.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from filelock import FileLock

from rcn_search import storage
from rcn_search.machine import cache_folder, cache_required

_RANGE_BYTES = 8 * 2**20
_NUM_CONNECTIONS = 4  # connections for one object; most stores deliver 50 to 100 MB/s on each


def shard_cache_folder() -> Path:
    """Path of the folder with the shards that this node has fetched."""
    return cache_folder("shards")


def file_damage(path: Path, *, num_bytes: int, sha256: str) -> str | None:
    """Describe what is wrong with a file; None if its size and hash are as expected."""
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    with path.open("rb") as stream:  # a file of another size is not hashed
        digest = hashlib.file_digest(stream, "sha256").hexdigest() if size == num_bytes else ""
    return content_damage(size, digest, num_bytes=num_bytes, sha256=sha256)


def content_damage(size: int, digest: str, *, num_bytes: int, sha256: str) -> str | None:
    """Describe how size and SHA-256 of a content differ from those expected; None if they do not."""
    if size != num_bytes:
        return f"{size:,} bytes instead of {num_bytes:,}"
    return None if digest == sha256 else "its content does not match its hash"


def fetch_to_cache(uri: str, *, num_bytes: int, sha256: str) -> tuple[Path, str | None]:
    """Find the local copy of an object, fetching it if necessary, and a second time if the first copy is damaged.

    Returns also the damage if both copies were damaged, else None.

    Raises:
        FileNotFoundError: There is no such object.
        CacheFolderError: The cache folder cannot be written to.
    """
    path = shard_cache_folder() / f"{sha256}.arrow"
    with cache_required(uri):
        if file_damage(path, num_bytes=num_bytes, sha256=sha256) is None:
            return path, None
        return path, _fetch_locked(uri, path, num_bytes=num_bytes, sha256=sha256)


def _fetch_locked(uri: str, path: Path, *, num_bytes: int, sha256: str) -> str | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{sha256}.tmp")  # a fixed name, so that an interrupted fetch is overwritten
    with FileLock(path.with_name(f".{sha256}.lock")):
        damage = file_damage(path, num_bytes=num_bytes, sha256=sha256)  # another process may have fetched it
        for _ in range(2):
            if damage is None:
                break
            try:
                damage = _fetch(uri, temporary, num_bytes=num_bytes, sha256=sha256)
                if damage is None:
                    temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
    return damage


def _fetch(uri: str, path: Path, *, num_bytes: int, sha256: str) -> str | None:
    """Read an object into a file in ranges, several at a time, hashing and writing the first while reading the next.

    The last range asks for one byte more than expected, which reveals an object that is too long.
    """
    digest, size = hashlib.sha256(), 0

    def read(start: int) -> bytes:
        stop = start + _RANGE_BYTES
        return storage.read_range(uri, start, stop if stop < num_bytes else num_bytes + 1)

    with path.open("wb") as stream, ThreadPoolExecutor(_NUM_CONNECTIONS) as pool:
        if hasattr(os, "posix_fallocate"):  # fail at once on a full disk, allocate once
            os.posix_fallocate(stream.fileno(), 0, num_bytes)
        starts, ahead = iter(range(0, num_bytes, _RANGE_BYTES)), deque[Future[bytes]]()
        ahead.extend(pool.submit(read, start) for start in islice(starts, _NUM_CONNECTIONS))
        while ahead:
            content = ahead.popleft().result()
            ahead.extend(pool.submit(read, start) for start in islice(starts, 1))
            stream.write(content)
            digest.update(content)
            size += len(content)
    return content_damage(size, digest.hexdigest(), num_bytes=num_bytes, sha256=sha256)
