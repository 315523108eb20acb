"""Packing a leaderboard: its many small objects into a few immutable files, as git packs objects.

Packing is safe beside processes that add entries, beside other packers, and when it is killed: a pack is published
whole before any object in it is deleted, and readers look for an object in both places. What was added meanwhile stays
loose. An object whose content does not fit its name is damaged and stays where it is, so that it is still reported.
Beside a damaged pack nothing is packed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pyarrow as pa

from rcn_search import storage
from rcn_search.config.schema import canonical_hash
from rcn_search.leaderboard.objects import (
    OLD_FOLDERS,
    PACK_COLUMNS,
    PACKS,
    damaged_packs,
    is_packed,
    list_packs,
    max_object_bytes,
    refresh_index,
)
from rcn_search.leaderboard.per_image import ERRORS, IMAGE_SETS
from rcn_search.leaderboard.records import ENTRIES
from rcn_search.leaderboard.test_evaluations import TEST_EVALUATIONS
from rcn_search.storage import StorageError

MAX_PACK_BYTES = 64 * 2**20
"""Packs of at least half this size are left as they are."""
_BATCH_BYTES = 2**20


class Packed(NamedTuple):
    """Result of `pack`: objects that were loose and are packed now, and packs of the leaderboard now."""

    num_objects: int
    num_packs: int


def pack(leaderboard: str, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Packed:
    """Pack loose objects and small packs; ``on_progress`` gets the number of loose objects read so far, and of all."""
    refresh_index(leaderboard)
    if damaged := damaged_packs(leaderboard):
        raise StorageError(f"{'; '.join(damaged)}: nothing was packed. Restore or delete it and pack again")
    packs = list_packs(leaderboard)  # before the loose objects: what is deleted below is in the new packs
    loose = list(_loose_objects(leaderboard))
    contents: dict[str, bytes] = {}
    merged, uris = [], []
    for done, (uri, name) in enumerate(loose, 1):
        content = _read_loose(uri, name)
        if content is not None and _is_intact(name, content):
            contents[name] = content
            uris.append(uri)
        on_progress(done, len(loose))
    for file in packs:
        with contextlib.suppress(FileNotFoundError):  # another process has merged it
            content = storage.read_bytes(storage.join(leaderboard, PACKS, file))
            if len(content) < MAX_PACK_BYTES // 2:
                merged.append(file)
                contents |= _objects_in(file, content)
    if not uris and len(merged) < 2:
        return Packed(0, len(packs))
    written = [_publish(leaderboard, part) for part in _parts(contents)]
    for uri in uris:
        storage.delete(uri)
    for file in set(merged) - set(written):
        storage.delete(storage.join(leaderboard, PACKS, file))
    refresh_index(leaderboard)
    return Packed(len(uris), len(list_packs(leaderboard)))


def _loose_objects(leaderboard: str) -> Iterator[tuple[str, str]]:
    """List URI and today's name of every loose object."""
    for folder in (ENTRIES, IMAGE_SETS, ERRORS, TEST_EVALUATIONS):
        for location in {folder, OLD_FOLDERS.get(folder, folder)}:
            subfolders = storage.list_names(storage.join(leaderboard, location)) if folder == TEST_EVALUATIONS else [""]
            for subfolder in subfolders:
                parts = [subfolder] if subfolder else []
                for name in storage.list_names(storage.join(leaderboard, location, *parts)):
                    if not name.startswith("."):
                        yield storage.join(leaderboard, location, *parts, name), "/".join((folder, *parts, name))


def _read_loose(uri: str, name: str) -> bytes | None:
    """Read a loose object; None if another process has packed it meanwhile, or it is too large or no file."""
    try:
        return storage.read_bytes(uri, max_bytes=max_object_bytes(name))
    except (FileNotFoundError, IsADirectoryError):
        return None
    except StorageError as error:
        if isinstance(error, OSError):
            raise
        return None


def _is_intact(name: str, content: bytes) -> bool:
    folder, _, file = name.partition("/")
    if folder == ERRORS:
        return file == f"{hashlib.sha256(content).hexdigest()}.npy"
    try:
        document = storage.decode_json(name, content)
    except StorageError:
        return False
    if folder == TEST_EVALUATIONS:
        return isinstance(document, dict) and file.endswith(".json")
    digest = canonical_hash(document)
    return file == f"{digest}.json" if folder == IMAGE_SETS else file.endswith(f"-{digest[:12]}.json")


def _parts(contents: dict[str, bytes]) -> Iterator[list[tuple[str, bytes]]]:
    """Sort objects by name and divide them among packs of at most `MAX_PACK_BYTES`."""
    part: list[tuple[str, bytes]] = []
    size = 0
    for name, content in sorted(contents.items()):
        if part and size + len(content) > MAX_PACK_BYTES:
            yield part
            part, size = [], 0
        part.append((name, content))
        size += len(content)
    if part:
        yield part


def _publish(leaderboard: str, objects: list[tuple[str, bytes]]) -> str:
    """Write a pack and read it back; its name."""
    stream = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(stream, PACK_COLUMNS, options=options) as writer:
        start, size = 0, 0
        for end, (_, content) in enumerate(objects, 1):
            size += len(content)
            if size >= _BATCH_BYTES or end == len(objects):
                names, values = zip(*objects[start:end], strict=True)
                columns = [pa.array(names), pa.array(values, pa.binary())]
                writer.write_batch(pa.record_batch(columns, schema=PACK_COLUMNS))
                start, size = end, 0
    content = stream.getvalue()
    name = f"{hashlib.sha256(content).hexdigest()}.arrow"
    uri = storage.join(leaderboard, PACKS, name)
    with contextlib.suppress(storage.ObjectExistsError):  # named by its content
        storage.write_bytes(uri, content, if_absent=True)
    try:
        is_whole = storage.read_bytes(uri) == content
    except FileNotFoundError:  # another packer has merged it meanwhile: its objects are in that one's pack
        refresh_index(leaderboard)
        is_whole = all(is_packed(leaderboard, key) for key, _ in objects)
    if not is_whole:
        raise StorageError(f"{uri} is not what was written; nothing was deleted. Delete it and pack again")
    return name


def _objects_in(name: str, content: bytes) -> dict[str, bytes]:
    if hashlib.sha256(content).hexdigest() != name.removesuffix(".arrow"):
        raise StorageError(f"{PACKS}/{name} is damaged: its content does not hash to its name; nothing was packed")
    table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
    return dict(zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True))
