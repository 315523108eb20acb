"""Objects of a leaderboard, loose or packed.

    <leaderboard>/entries/<name>.json                     and other folders: one object each, put if absent
    <leaderboard>/packs/<SHA-256 of the bytes>.arrow      many of these objects in one immutable file (`packing`)

An object that is both loose and packed is the same object: its name holds the hash of its content, or a random part. A
pack is an Arrow file with the columns ``name`` (``entries/….json``) and ``content``, in record batches decompressed one
by one. Folders of schema versions 1 and 2 had other names; their objects are listed and read under today's.

Anybody may have written an object or a pack: a damaged pack is left out and named (`damaged_packs`), no object is read
beyond its bound, and reading one raises nothing but OSError and `StorageError`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa

from rcn_search import storage
from rcn_search.machine import cache_folder, cache_required
from rcn_search.storage import StorageError

PACKS = "packs"
OLD_FOLDERS = {"per_image_errors": "errors", "image_sets": "images", "test_evaluations": "test_looks"}
"""Names of folders in schema versions 1 and 2."""
_MAX_BYTES = {"image_sets": storage.MAX_JSON_BYTES, "per_image_errors": 2**26}
_MAX_BYTES_OF_OTHERS = 2**18
_MAX_PACK_FILE_BYTES = 2**27
_NUM_READERS = 32
_NUM_ATTEMPTS = 20
"""A reader looks again so often while packers work beside it."""
_T = TypeVar("_T")
PACK_COLUMNS = pa.schema([("name", pa.string()), ("content", pa.binary())])

Unreadable = OSError | StorageError
"""Why an object cannot be read."""

Stamp = tuple[int, int]
"""Size in bytes and modification time in ns of the file that holds an object; zeros on object storage."""


def put_object(leaderboard: str, folder: str, name: str, content: bytes) -> str:
    """Put an object, unless it exists; its URI."""
    uri = storage.join(leaderboard, folder, name)
    if not is_packed(leaderboard, f"{folder}/{name}"):
        with contextlib.suppress(storage.ObjectExistsError):  # its name says that it is this object
            storage.write_bytes(uri, content, if_absent=True)
    return uri


def list_objects(leaderboard: str, folder: str) -> dict[str, Stamp]:
    """List the names in a folder, sorted, with the stamp of each."""
    for attempt in range(_NUM_ATTEMPTS):
        stamps = _loose_stamps(leaderboard, folder)  # before the packs: what is packed meanwhile is in one of them
        index = _pack_index(leaderboard, refresh=True)
        is_local = storage.is_local(leaderboard)
        try:
            of_pack = {path: _file_stamp(path) if is_local else (0, 0) for path in {path for path, _ in index.values()}}
        except FileNotFoundError:  # merged into another one meanwhile
            if attempt == _NUM_ATTEMPTS - 1:
                raise
            continue
        for key, (path, _) in index.items():
            parent, _, name = key.rpartition("/")
            if parent == folder:
                stamps[name] = of_pack[path]
        break
    return dict(sorted(stamps.items()))


def list_subfolders(leaderboard: str, folder: str) -> list[str]:
    """List the folders in a folder, sorted."""
    names = {name for place in _locations(leaderboard, folder) for name in storage.list_names(place)}
    for key in _pack_index(leaderboard, refresh=True):
        if key.startswith(f"{folder}/") and key.count("/") > folder.count("/") + 1:
            names.add(key.removeprefix(f"{folder}/").partition("/")[0])
    return sorted(names)


def object_stamp(leaderboard: str, folder: str, name: str) -> Stamp:
    """Return the stamp of one object, without a request to a server; `FileNotFoundError` if it is not there."""
    if not storage.is_local(leaderboard):
        return (0, 0)
    return _access(
        leaderboard,
        folder,
        name,
        packed=lambda path, number: _file_stamp(path),
        loose=lambda uri: _file_stamp(storage.local_path(uri)),
    )


def read_object(leaderboard: str, folder: str, name: str) -> bytes:
    """Read one object; `FileNotFoundError` if there is none, `StorageError` if it is too large or damaged."""
    key = f"{folder}/{name}"

    def read_packed(path: Path, number: int) -> bytes:
        content = _read_batch(path, number)[key]
        if len(content) > max_object_bytes(folder):
            raise StorageError(f"{path}: {key} is too large: at most {max_object_bytes(folder):,} bytes are read")
        return content

    def read_loose(uri: str) -> bytes:
        return storage.read_bytes(uri, max_bytes=max_object_bytes(folder))

    return _access(leaderboard, folder, name, packed=read_packed, loose=read_loose)


def max_object_bytes(folder: str) -> int:
    """Return the largest size of an object of a folder that is read."""
    return _MAX_BYTES.get(folder.partition("/")[0], _MAX_BYTES_OF_OTHERS)


def _access(
    leaderboard: str, folder: str, name: str, *, packed: Callable[[Path, int], _T], loose: Callable[[str], _T]
) -> _T:
    """Call ``packed`` with the pack and record batch that hold an object, or ``loose`` with its URI."""
    for attempt in range(_NUM_ATTEMPTS):  # again for an object that was packed, or whose pack was merged, meanwhile
        if batch := _pack_index(leaderboard, refresh=attempt > 0).get(f"{folder}/{name}"):
            with contextlib.suppress(FileNotFoundError):
                return packed(*batch)
        elif attempt == 2:  # neither loose nor in the packs listed after that: there is none
            break
        for location in _locations(leaderboard, folder):
            with contextlib.suppress(FileNotFoundError):
                return loose(storage.join(location, name))
    raise FileNotFoundError(f"{leaderboard} holds no {folder}/{name}")


def read_objects(leaderboard: str, folder: str, names: Iterable[str]) -> dict[str, bytes | Unreadable]:
    """Read many objects; in place of one that cannot be read, why."""

    def read(name: str) -> bytes | Unreadable:
        try:
            return read_object(leaderboard, folder, name)
        except (OSError, StorageError) as error:
            return error

    names = sorted(names)  # as they are in the packs, so that each batch is decompressed once
    index = _pack_index(leaderboard)
    loose = [name for name in names if f"{folder}/{name}" not in index]
    if storage.is_local(leaderboard):
        contents = {name: read(name) for name in loose}
    else:
        with ThreadPoolExecutor(_NUM_READERS) as pool:  # an object store answers many requests as fast as one
            contents = dict(zip(loose, pool.map(read, loose), strict=True))
    return {name: contents[name] if name in contents else read(name) for name in names}


def _locations(leaderboard: str, folder: str) -> list[str]:
    """Locations of loose objects of a folder: today's, and that of schema versions 1 and 2 if it had another name."""
    first, _, rest = folder.partition("/")
    firsts = [first, OLD_FOLDERS[first]] if first in OLD_FOLDERS else [first]
    return [storage.join(leaderboard, *filter(None, (each, rest))) for each in firsts]


def _loose_stamps(leaderboard: str, folder: str) -> dict[str, Stamp]:
    stamps: dict[str, Stamp] = {}
    for location in reversed(_locations(leaderboard, folder)):
        if not storage.is_local(location):
            stamps |= dict.fromkeys(storage.list_names(location), (0, 0))
            continue
        for name in storage.list_names(location):
            try:
                stamps[name] = _file_stamp(storage.local_path(storage.join(location, name)))
            except FileNotFoundError:  # packed meanwhile
                continue
            except OSError:  # such as a link to itself: whoever reads the object reports it
                stamps[name] = (0, 0)
    return stamps


def _file_stamp(path: Path) -> Stamp:
    status = path.stat()
    return (status.st_size, status.st_mtime_ns)


class _Packs(NamedTuple):
    """Where each packed object is, the pack and the number of the record batch; and a line for each damaged pack."""

    batches: dict[str, tuple[Path, int]]
    damaged: dict[str, str]


_packs: dict[tuple[str, str], _Packs] = {}
"""The packs of a leaderboard that were seen last, by working directory and leaderboard."""


def _pack_index(leaderboard: str, *, refresh: bool = False) -> Mapping[str, tuple[Path, int]]:
    return _known_packs(leaderboard, refresh=refresh).batches


def _known_packs(leaderboard: str, *, refresh: bool) -> _Packs:
    """Find all packed objects; packs that another process made since are seen with ``refresh``."""
    key = (str(Path.cwd()), leaderboard)
    if refresh or key not in _packs:
        for _ in range(_NUM_ATTEMPTS):  # until no pack is merged into another one meanwhile
            names = list_packs(leaderboard)
            found = _Packs({}, {})
            with contextlib.suppress(FileNotFoundError):
                for name in names:
                    try:
                        path = _local_pack(storage.join(leaderboard, PACKS, name))
                        found.batches.update(_read_index(path, _pack_time_ns(path)))
                    except StorageError as error:
                        if isinstance(error, OSError):  # of the store: a part of the leaderboard would seem to be gone
                            raise
                        found.damaged[name] = f"{error}; its objects are left out"
                if not names or list_packs(leaderboard) == names:
                    break
        _packs[key] = found
    return _packs[key]


def damaged_packs(leaderboard: str) -> list[str]:
    """List a line for each damaged pack among those that were seen last."""
    return list(_known_packs(leaderboard, refresh=False).damaged.values())


def refresh_index(leaderboard: str) -> None:
    """Take note of the packs that exist now."""
    _pack_index(leaderboard, refresh=True)


def is_packed(leaderboard: str, key: str) -> bool:
    """Whether a pack that was seen holds the object ``key``, a folder and a name with a slash between them."""
    return key in _pack_index(leaderboard)


def list_packs(leaderboard: str) -> list[str]:
    """List the names of the packs of a leaderboard, sorted."""
    return [name for name in storage.list_names(storage.join(leaderboard, PACKS)) if name.endswith(".arrow")]


def _local_pack(uri: str) -> Path:
    """Fetch a pack from object storage into the user's cache folder, once; a local one is used where it is."""
    if storage.is_local(uri):
        return storage.local_path(uri)
    digest = uri.rpartition("/")[2].removesuffix(".arrow")
    path = cache_folder("leaderboards") / f"{digest}.arrow"
    with cache_required(uri):
        if not path.exists():
            content = storage.read_bytes(uri, max_bytes=_MAX_PACK_FILE_BYTES)
            if hashlib.sha256(content).hexdigest() != digest:
                raise StorageError(f"{uri} is damaged: its content does not hash to its name")
            storage.write_bytes(str(path), content)
    return path


@contextlib.contextmanager
def _named_damage(path: Path) -> Iterator[None]:
    """Turn what Arrow raises for a damaged pack into a `StorageError` that names it."""
    try:
        yield
    except (FileNotFoundError, StorageError):
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise StorageError(f"{path} is damaged: {reason}") from error


def _pack_time_ns(path: Path) -> int:
    with _named_damage(path):
        if path.exists() and not path.is_file():
            raise StorageError(f"{path} is not a file")
        return path.stat().st_mtime_ns


def _read_columns(path: Path, number: int, columns: list[int]) -> list[list[Any]]:
    """Read columns of a record batch, whose every offset and name is checked before it is followed."""
    options = pa.ipc.IpcReadOptions(included_fields=columns)
    batch = pa.ipc.open_file(pa.memory_map(str(path)), options=options).get_batch(number)
    batch.validate(full=True)
    if any(column.null_count for column in batch.columns):
        raise StorageError(f"{path} is damaged: names or contents are missing")
    return [column.to_pylist() for column in batch.columns]


@lru_cache(maxsize=256)
def _read_index(path: Path, modified_ns: int) -> dict[str, tuple[Path, int]]:
    with _named_damage(path):
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if not reader.schema.equals(PACK_COLUMNS):
            raise StorageError(f"{path} is no pack: its columns are {', '.join(reader.schema.names)}")
        numbers = range(reader.num_record_batches)
        return {name: (path, number) for number in numbers for name in _read_columns(path, number, [0])[0]}


@lru_cache(maxsize=64)  # 1 MiB each
def _read_batch(path: Path, number: int) -> dict[str, bytes]:
    with _named_damage(path):
        names, contents = _read_columns(path, number, [0, 1])
        return dict(zip(names, contents, strict=True))
