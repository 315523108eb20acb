"""Cache of leaderboard entries in the user's cache folder, so that a large leaderboard is not read again each time.

The folder of entries is listed every time. A cached entry is used only while its object has the size and modification
time that it had when its hash was checked; on object storage, where objects are not edited in place, as long as its
name exists. A damaged cache is rebuilt. The fields that no table needs stay JSON text until somebody asks for them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic_core import from_json

from rcn_search import storage
from rcn_search.evaluation.metrics import NON_FINITE_PREDICTION
from rcn_search.evaluation.protocol import EvaluationProtocol
from rcn_search.leaderboard.objects import Stamp, list_objects
from rcn_search.leaderboard.records import ENTRIES, Entry, load_entries, read_entries
from rcn_search.machine import cache_folder

MIN_CACHED_ENTRIES = 256
"""Leaderboards with fewer entries are read whole."""
_REWRITE_SHARE = 20
"""The cache is written again when more than one of so many entries is new or gone."""
_VERSION = 4


@dataclass(frozen=True, kw_only=True)
class EntrySummary:
    """The fields of an `Entry` that a table needs, and the whole entry or its JSON text (``source``)."""

    protocol: EvaluationProtocol
    method: str
    error_pct: float
    origin: Literal["ours", "reproduced"]
    num_images: int
    images_sha256: str | None
    errors_sha256: str | None
    replaces: str | None
    num_unpredicted: int
    seed: int | None
    source: Entry | str

    @cached_property
    def entry(self) -> Entry:
        """The whole entry, parsed when it is first asked for."""
        return self.source if isinstance(self.source, Entry) else Entry.model_validate_json(self.source)

    @property
    def text(self) -> str:
        """The whole entry as JSON."""
        return self.source.model_dump_json() if isinstance(self.source, Entry) else self.source


_COPIED = ("method", "error_pct", "origin", "num_images", "images_sha256", "errors_sha256", "replaces")
_CACHED = (*_COPIED, "num_unpredicted", "seed")


def summarize(entry: Entry) -> EntrySummary:
    """Make the summary of an entry."""
    seed = entry.config.get("seed")
    return EntrySummary(
        protocol=entry.protocol,
        **{name: getattr(entry, name) for name in _COPIED},
        num_unpredicted=entry.excluded.get(NON_FINITE_PREDICTION, 0),
        seed=seed if isinstance(seed, int) else None,
        source=entry,
    )


def list_summaries(leaderboard: str) -> tuple[dict[str, EntrySummary], list[str]]:
    """Load summaries of all entries by id, and a line for every object in their folder that is not an entry.

    The result is that of `load_entries`, unless somebody edits an object without changing its size and time.
    """
    stamps = list_objects(leaderboard, ENTRIES)
    if len(stamps) < MIN_CACHED_ENTRIES:
        entries, problems = load_entries(leaderboard)
        return {entry_id: summarize(entry) for entry_id, entry in entries.items()}, problems
    cached = _read(leaderboard)
    valid = {name: summary for name, (stamp, summary) in cached.items() if stamps.get(name) == stamp}
    read, problems = read_entries(leaderboard, [name for name in stamps if name not in valid])
    summaries = valid | {f"{entry_id}.json": summarize(entry) for entry_id, entry in read.items()}
    num_changed = len(read) + len(cached) - len(valid)
    if num_changed * _REWRITE_SHARE > len(summaries):
        _write(leaderboard, {name: (stamps[name], summary) for name, summary in summaries.items()})
    return {name.removesuffix(".json"): summaries[name] for name in sorted(summaries)}, problems


_NONE = type(None)
_TYPES: dict[str, tuple[type, ...]] = {
    "method": (str,),
    "error_pct": (float, int),
    "origin": (str,),
    "num_images": (int,),
    "images_sha256": (str, _NONE),
    "errors_sha256": (str, _NONE),
    "replaces": (str, _NONE),
    "num_unpredicted": (int,),
    "seed": (int, _NONE),
}
"""Types of the fields that are kept as they are; pydantic would take 30 MB more for 10,000 entries."""


def _read(leaderboard: str) -> dict[str, tuple[Stamp, EntrySummary]]:
    document = read_cache(leaderboard, "index")
    try:
        if document["index_version"] != _VERSION:
            return {}
        protocols = [EvaluationProtocol.model_validate(protocol) for protocol in document["protocols"]]
        return {
            name: ((size, modified_ns), EntrySummary(protocol=protocols[index], source=_text(text), **_checked(fields)))
            for name, (size, modified_ns, index, fields, text) in document["entries"].items()
        }
    except (ValueError, LookupError, TypeError, AttributeError):  # of other types
        return {}


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    for name, types in _TYPES.items():
        if type(fields[name]) not in types:
            raise TypeError(name)
    return fields


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text")
    return value


def _write(leaderboard: str, summaries: Mapping[str, tuple[Stamp, EntrySummary]]) -> None:
    protocols: dict[EvaluationProtocol, int] = {}
    entries = {}
    for name, (stamp, summary) in summaries.items():
        fields = {field: getattr(summary, field) for field in _CACHED}
        entries[name] = (*stamp, protocols.setdefault(summary.protocol, len(protocols)), fields, summary.text)
    protocol_documents = [protocol.model_dump(mode="json") for protocol in protocols]
    write_cache(leaderboard, "index", {"index_version": _VERSION, "protocols": protocol_documents, "entries": entries})


def _cache_path(leaderboard: str, kind: str) -> Path:
    name = hashlib.sha256(storage.absolute(leaderboard).encode()).hexdigest()[:16]
    return cache_folder("leaderboards") / f"{name}.{kind}.json"


def read_cache(leaderboard: str, kind: str) -> Any:
    """Read what `write_cache` wrote; None if it is missing or damaged. Its types are for the caller to check."""
    try:
        digest, _, content = _cache_path(leaderboard, kind).read_bytes().partition(b"\n")
        return from_json(content) if hashlib.sha256(content).hexdigest().encode() == digest else None
    except (OSError, ValueError):
        return None


def write_cache(leaderboard: str, kind: str, document: Any) -> None:
    """Write a document with its hash. A cache folder that cannot be written to is ignored: it only costs time."""
    content = json.dumps(document, separators=(",", ":")).encode()
    with contextlib.suppress(OSError):
        path = str(_cache_path(leaderboard, kind))
        storage.write_bytes(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
