"""Entries of a large board without reading each object again: what was read once stays in this user's cache folder.

The folder of entries is listed every time, so what was deleted is gone and what was added is there. An entry is taken
from the index only while its object has the size and the time of change that it had when it was read and its hash
checked; on object storage, where objects are not edited in place, while its name is there. An index that is damaged or
of another version is made anew: it holds nothing that the board does not.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from rcn_search import storage
from rcn_search.leaderboard.entry import ENTRIES, Entry, load_entries, read_entries

SMALLEST = 256
"""Boards of fewer entries are read whole."""
_ADDED_SHARE = 20


class _Known(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    stamp: tuple[int, int]
    entry: Entry


class _Index(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    index_version: int = 1
    known: dict[str, _Known]


def load_indexed(board: str) -> tuple[dict[str, Entry], list[str]]:
    """As `load_entries`, which it equals on every board that is not being edited behind its back."""
    stamps = _list(board)
    if len(stamps) < SMALLEST:
        return load_entries(board)
    uri = _index_uri(board)
    known = _read(uri)
    fresh = {name: each.entry for name, each in known.items() if stamps.get(name) == each.stamp}
    read, problems = read_entries(board, [name for name in stamps if name not in fresh])
    read_by_name = {f"{entry_id}.json": entry for entry_id, entry in read.items()}
    entries = fresh | read_by_name
    num_changed = len(read_by_name) + len(known) - len(fresh)
    if num_changed * _ADDED_SHARE > len(entries):
        _write(uri, {name: _Known(stamp=stamps[name], entry=entry) for name, entry in entries.items()})
    return {name.removesuffix(".json"): entries[name] for name in sorted(entries)}, problems


def _list(board: str) -> dict[str, tuple[int, int]]:
    folder = storage.join(board, ENTRIES)
    if not storage.is_local(folder):
        return dict.fromkeys(storage.list_names(folder), (0, 0))
    path = storage.local_path(folder)
    if not path.is_dir():
        return {}
    stamps = {}
    with os.scandir(path) as objects:
        for each in objects:
            if not each.name.endswith(".tmp"):
                status = each.stat()
                stamps[each.name] = (status.st_size, status.st_mtime_ns)
    return dict(sorted(stamps.items()))


def _index_uri(board: str) -> Path:
    root = os.environ.get("RCN_SEARCH_CACHE") or Path.home() / ".cache" / "rcn-search"
    return Path(root) / "boards" / f"{hashlib.sha256(storage.absolute(board).encode()).hexdigest()[:16]}.json"


def _read(path: Path) -> dict[str, _Known]:
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() != digest:
            return {}
        return _Index.model_validate_json(content).known
    except (OSError, ValidationError):
        return {}


def _write(path: Path, known: dict[str, _Known]) -> None:
    content = _Index(known=known).model_dump_json().encode()
    try:
        storage.write_bytes(str(path), hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    except OSError:
        return  # a home that cannot be written to costs time, not the board
