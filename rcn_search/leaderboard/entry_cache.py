"""Entries of a large leaderboard without reading each object again: what was read once stays in this user's cache folder.

The folder of entries is listed every time, so what was deleted is gone and what was added is there. An entry is taken
from the index only while its object has the size and the time of change that it had when it was read and its hash
checked; on object storage, where objects are not edited in place, while its name is there. An index that is damaged or
of another version is made anew: it holds nothing that the leaderboard does not.

A table needs little of most of its entries. The rest stays text until somebody asks for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from rcn_search import storage
from rcn_search.evaluation.metrics import NON_FINITE_PREDICTION
from rcn_search.evaluation.protocol import Protocol
from rcn_search.leaderboard.records import ENTRIES, Entry, load_entries, read_entries

MIN_CACHED_ENTRIES = 256
"""Leaderboards of fewer entries are read whole."""
_ADDED_SHARE = 20
_VERSION = 2

_Stamp = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class EntrySummary:
    """What a table needs of an entry, and the whole of it when it is asked for.

    Attributes:
        protocol, method, error_pct, origin, num_images, images_sha256, errors_sha256, replaces: See `Entry`.
        num_unpredicted: Images for which the method gave no answer.
        seed: Of the training, where there was one.
        text: The entry as JSON.
    """

    protocol: Protocol
    method: str
    error_pct: float
    origin: Any
    num_images: int
    images_sha256: str | None
    errors_sha256: str | None
    replaces: str | None
    num_unpredicted: int
    seed: int | None
    text: str

    @cached_property
    def entry(self) -> Entry:
        """All of it."""
        return Entry.model_validate_json(self.text)


_PLAIN = ("method", "error_pct", "origin", "num_images", "images_sha256", "errors_sha256", "replaces")


def listed(entry: Entry) -> EntrySummary:
    """An entry that is there already."""
    seed = entry.config.get("seed")
    found = EntrySummary(
        protocol=entry.protocol,
        **{name: getattr(entry, name) for name in _PLAIN},
        num_unpredicted=entry.excluded.get(NON_FINITE_PREDICTION, 0),
        seed=seed if isinstance(seed, int) else None,
        text="",
    )
    found.__dict__["entry"] = entry
    return found


def list_summaries(leaderboard: str) -> tuple[dict[str, EntrySummary], list[str]]:
    """As `load_entries`, which it equals on every leaderboard that is not being edited behind its back."""
    stamps = _list(leaderboard)
    if len(stamps) < MIN_CACHED_ENTRIES:
        entries, problems = load_entries(leaderboard)
        return {entry_id: listed(entry) for entry_id, entry in entries.items()}, problems
    uri = cache_path(leaderboard, "index")
    known = _read(uri)
    fresh = {name: each for name, (stamp, each) in known.items() if stamps.get(name) == stamp}
    read, problems = read_entries(leaderboard, [name for name in stamps if name not in fresh])
    all_by_name = fresh | {f"{entry_id}.json": listed(entry) for entry_id, entry in read.items()}
    num_changed = len(read) + len(known) - len(fresh)
    if num_changed * _ADDED_SHARE > len(all_by_name):
        _write(uri, {name: (stamps[name], each) for name, each in all_by_name.items()})
    return {name.removesuffix(".json"): all_by_name[name] for name in sorted(all_by_name)}, problems


def load_indexed(leaderboard: str) -> tuple[dict[str, Entry], list[str]]:
    """`list_entries`, of each the whole."""
    found, problems = list_summaries(leaderboard)
    return {entry_id: each.entry for entry_id, each in found.items()}, problems


def _list(leaderboard: str) -> dict[str, _Stamp]:
    folder = storage.join(leaderboard, ENTRIES)
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


def _read(path: Path) -> dict[str, tuple[_Stamp, EntrySummary]]:
    document = read_cache(path)
    try:
        if document["index_version"] != _VERSION:
            return {}
        protocols = [Protocol.model_validate(each) for each in document["protocols"]]
        return {
            name: ((size, changed), EntrySummary(protocol=protocols[place], **fields))
            for name, (size, changed, place, fields) in document["known"].items()
        }
    except (ValueError, LookupError, TypeError):
        return {}


def _write(path: Path, known: Mapping[str, tuple[_Stamp, EntrySummary]]) -> None:
    protocols: dict[Protocol, int] = {}
    rows = {}
    for name, (stamp, each) in known.items():
        fields = {key: value for key, value in vars(each).items() if key not in ("protocol", "entry")}
        fields["text"] = each.text or each.entry.model_dump_json()
        rows[name] = (*stamp, protocols.setdefault(each.protocol, len(protocols)), fields)
    document = {
        "index_version": _VERSION,
        "protocols": [each.model_dump(mode="json") for each in protocols],
        "known": rows,
    }
    write_cache(path, document)


def cache_path(leaderboard: str, kind: str) -> Path:
    """Where what is known of a leaderboard is kept for this user."""
    root = os.environ.get("RCN_SEARCH_CACHE") or Path.home() / ".cache" / "rcn-search"
    name = hashlib.sha256(storage.absolute(leaderboard).encode()).hexdigest()[:16]
    return Path(root) / "leaderboards" / f"{name}.{kind}.json"


def read_cache(path: Path) -> Any:
    """What was written there whole; None otherwise."""
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
        return from_json(content) if hashlib.sha256(content).hexdigest().encode() == digest else None
    except (OSError, ValueError):
        return None


def write_cache(path: Path, document: Any) -> None:
    """Keep it for `read_checked`. A home that cannot be written to costs time, not the leaderboard."""
    content = json.dumps(document, separators=(",", ":")).encode()
    with contextlib.suppress(OSError):
        storage.write_bytes(str(path), hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
