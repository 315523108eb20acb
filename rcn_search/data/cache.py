"""The node's cache: whole objects on the local disk, under the name of their content, fetched once by whoever is first.

Of several processes that need an object one fetches it, and the others wait for its lock. The kernel gives a lock back
when its holder dies, whatever it died of; a fetch that hangs ends by the time limits of `storage`. A file gets its name
when its content is verified, and is verified again when it is opened: disks forget.
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

_RANGE_BYTES = 8 * 2**20
_NUM_CONNECTIONS = 4
"""Of one object. One connection carries 50 to 100 MB/s from most stores."""


def cache_folder() -> Path:
    """Where fetched shards are kept on this node: RCN_SEARCH_CACHE, or the user's cache folder."""
    root = os.environ.get("RCN_SEARCH_CACHE") or Path.home() / ".cache" / "rcn-search"
    return Path(root) / "shards"


def file_damage(path: Path, *, num_bytes: int, sha256: str) -> str | None:
    """What is wrong with a file, or None."""
    if not path.is_file():
        return "missing"
    if path.stat().st_size != num_bytes:
        return f"{path.stat().st_size:,} bytes instead of {num_bytes:,}"
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return None if digest == sha256 else "its content does not match its hash"


def cached(uri: str, *, num_bytes: int, sha256: str) -> tuple[Path, str | None]:
    """The local copy of an object, fetched if need be, and once more if what came is not what it should be.

    Returns:
        Its path, and what is wrong with the object if both were damaged.

    Raises:
        FileNotFoundError: There is no such object.
        OSError: It cannot be read, or the disk is full.
    """
    path = cache_folder() / f"{sha256}.arrow"
    if file_damage(path, num_bytes=num_bytes, sha256=sha256) is None:
        return path, None
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{sha256}.tmp")  # one name: what a dead fetcher left is written over
    with FileLock(path.with_name(f".{sha256}.lock")):
        damage = file_damage(path, num_bytes=num_bytes, sha256=sha256)  # it may have come while we waited
        for _ in range(2):
            if damage is None:
                break
            try:
                damage = _fetch(uri, temporary, num_bytes=num_bytes, sha256=sha256)
                if damage is None:
                    temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
    return path, damage


def _fetch(uri: str, path: Path, *, num_bytes: int, sha256: str) -> str | None:
    """Read an object into a file, in ranges, several at a time; those that are here are hashed and written meanwhile.

    One byte more is asked for than there should be, by which an object that is longer shows.

    Returns:
        What is wrong with what came, or None.
    """
    digest, size = hashlib.sha256(), 0

    def read(start: int) -> bytes:
        stop = start + _RANGE_BYTES
        return storage.read_range(uri, start, stop if stop < num_bytes else num_bytes + 1)

    with path.open("wb") as stream, ThreadPoolExecutor(_NUM_CONNECTIONS) as pool:
        if hasattr(os, "posix_fallocate"):  # a full disk is said at once, and pages are not found one by one
            os.posix_fallocate(stream.fileno(), 0, num_bytes)
        starts, ahead = iter(range(0, num_bytes, _RANGE_BYTES)), deque[Future[bytes]]()
        ahead.extend(pool.submit(read, start) for start in islice(starts, _NUM_CONNECTIONS))
        while ahead:
            content = ahead.popleft().result()
            ahead.extend(pool.submit(read, start) for start in islice(starts, 1))
            stream.write(content)
            digest.update(content)
            size += len(content)
    if size != num_bytes:
        return f"{size:,} bytes instead of {num_bytes:,}"
    return None if digest.hexdigest() == sha256 else "its content does not match its hash"
