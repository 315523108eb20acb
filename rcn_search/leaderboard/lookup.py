"""Find entries by id or method name, and the prediction files that they were scored from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.predictions import Predictions, read_predictions
from rcn_search.leaderboard.entry_cache import list_summaries
from rcn_search.leaderboard.ranking.seeds import without_seed
from rcn_search.leaderboard.records import Entry
from rcn_search.leaderboard.table import drop_superseded

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

    ``other_uris`` are prediction files by their SHA-256 (`hash_prediction_files`).
    """
    uris = [
        other_uris.get(entry.predictions_sha256),
        entry.predictions_uri,
        storage.join(leaderboard, PREDICTIONS, f"{entry.predictions_sha256}.parquet"),
    ]
    for uri in filter(None, uris):
        try:
            if hashlib.sha256(storage.read_bytes(uri)).hexdigest() == entry.predictions_sha256:
                return read_predictions(uri)
        except OSError:
            continue
    return None


def hash_prediction_files(uris: Iterable[str]) -> dict[str, str]:
    """Map the SHA-256 of prediction files to their URIs; a folder stands for the ``.parquet`` files directly in it."""
    files = [file for uri in uris for file in _files(uri)]
    return {hashlib.sha256(storage.read_bytes(file)).hexdigest(): file for file in files}


def _files(uri: str) -> list[str]:
    names = storage.list_names(uri) if not uri.endswith(".parquet") else []
    return [storage.join(uri, name) for name in names if name.endswith(".parquet")] or [uri]
