"""Find entries by id or method name, and the prediction files that they were scored from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.bounded_parquet import MAX_FILE_BYTES
from rcn_search.evaluation.predictions import Predictions, decode_predictions
from rcn_search.leaderboard.entry_cache import list_summaries
from rcn_search.leaderboard.ranking.seeds import without_seed
from rcn_search.leaderboard.records import Entry
from rcn_search.leaderboard.table import drop_superseded
from rcn_search.storage import StorageError

PREDICTIONS = "predictions"
Entries = dict[str, Entry]
"""Entries by id."""


def load_current_entries(leaderboard: str) -> Entries:
    """Load all entries of a leaderboard except those that a later entry replaces."""
    summaries, _ = list_summaries(leaderboard)
    return {entry_id: summary.entry for entry_id, summary in drop_superseded(summaries).items()}


def find_entries(entries: Mapping[str, Entry], name: str) -> Entries:
    """Find the entry of that id, or the entries of every seed of that method; `RcnSearchError` if there is neither."""
    entry_id = name.removesuffix(".json").rpartition("/")[2]
    if entry_id in entries:
        return {entry_id: entries[entry_id]}
    matches = {key: entry for key, entry in entries.items() if entry.method == name}
    matches = matches or {key: entry for key, entry in entries.items() if without_seed(entry.method) == name}
    if not matches:
        similar = sorted({entry.method for entry in entries.values() if name.lower() in entry.method.lower()})
        hint = f"; similar methods: {', '.join(map(repr, similar[:3]))}" if similar else ""
        raise RcnSearchError(
            f"no entry and no method is called {name!r}{hint}. 'rcn-search leaderboard --format csv' lists all"
        )
    return matches


def find_entries_under(
    entries: Mapping[str, Entry], name: str, protocol: str, dataset: str, subset: str
) -> list[Entry]:
    """Find entries as `find_entries` does, of one protocol; an entry named by its id may have any protocol.

    An empty ``dataset`` or ``subset`` stands for any. `RcnSearchError` if there is no such entry.
    """
    matches = [
        entry
        for entry_id, entry in find_entries(entries, name).items()
        if (entry.protocol.name == protocol or name == entry_id)
        and dataset in ("", entry.protocol.dataset)
        and subset in ("", entry.protocol.subset)
    ]
    if not matches:
        raise RcnSearchError(f"{name!r} has no entry under {protocol} of {dataset or 'any data set'} {subset}".rstrip())
    return matches


def find_predictions(leaderboard: str, entry: Entry, other_uris: Mapping[str, str]) -> Predictions | None:
    """Read the predictions that an entry was scored from; None if no file with the recorded hash is found.

    ``other_uris`` are prediction files that the user named, by their SHA-256 (`hash_prediction_files`). The location
    that the entry records is read only if it is inside of the leaderboard: anybody may have written it.
    `RcnSearchError` if the file is damaged.
    """
    uris = [
        other_uris.get(entry.predictions_sha256),
        storage.join(leaderboard, PREDICTIONS, f"{entry.predictions_sha256}.parquet"),
        _inside(leaderboard, entry.predictions_uri or ""),
    ]
    for uri in dict.fromkeys(filter(None, uris)):
        try:
            content = storage.read_bytes(uri, max_bytes=MAX_FILE_BYTES)
        except OSError:
            continue
        if hashlib.sha256(content).hexdigest() == entry.predictions_sha256:
            return decode_predictions(uri, content)
    return None


def _inside(leaderboard: str, uri: str) -> str | None:
    """Return the URI if it is of a Parquet file below the leaderboard, else None."""
    folder = storage.absolute(leaderboard)
    if not uri.endswith(".parquet") or storage.is_local(uri) != storage.is_local(folder):
        return None
    try:
        location = storage.absolute(uri)
    except (StorageError, OSError, ValueError, RuntimeError):  # a path that this machine cannot have
        return None
    is_below = location.startswith(f"{folder.rstrip('/')}/")
    return location if is_below and ".." not in location.split("/") else None


def hash_prediction_files(uris: Iterable[str]) -> dict[str, str]:
    """Map the SHA-256 of prediction files to their URIs; a folder stands for the ``.parquet`` files directly in it."""
    files = [file for uri in uris for file in _files(uri)]
    return {hashlib.sha256(storage.read_bytes(file, max_bytes=MAX_FILE_BYTES)).hexdigest(): file for file in files}


def _files(uri: str) -> list[str]:
    names = storage.list_names(uri) if not uri.endswith(".parquet") else []
    return [storage.join(uri, name) for name in names if name.endswith(".parquet")] or [uri]
