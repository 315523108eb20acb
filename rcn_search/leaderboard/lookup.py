"""Entries by what a person calls them, and the prediction files they were scored from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from rcn_search import storage
from rcn_search.evaluation.predictions import Predictions, read_predictions
from rcn_search.leaderboard.entry_cache import list_summaries
from rcn_search.leaderboard.ranking.seeds import without_seed
from rcn_search.leaderboard.records import Entry
from rcn_search.leaderboard.table import drop_superseded

PREDICTIONS = "predictions"

Entries = dict[str, Entry]
"""By id."""


def load_current_entries(leaderboard: str) -> Entries:
    """All entries of a leaderboard but those in whose place a later one stands."""
    return {entry_id: each.entry for entry_id, each in drop_superseded(list_summaries(leaderboard)[0]).items()}


def find_entries(entries: Mapping[str, Entry], name: str) -> Entries:
    """The entry of that id, or all entries of the method of that name, whatever their seeds.

    Raises:
        ValueError: There is neither.
    """
    entry_id = name.removesuffix(".json").rpartition("/")[2]
    if entry_id in entries:
        return {entry_id: entries[entry_id]}
    found = {each: entry for each, entry in entries.items() if entry.method == name}
    found = found or {each: entry for each, entry in entries.items() if without_seed(entry.method) == name}
    if not found:
        like = sorted({entry.method for entry in entries.values() if name.lower() in entry.method.lower()})
        hint = f"; methods like it: {', '.join(map(repr, like[:3]))}" if like else ""
        raise ValueError(
            f"no entry and no method is called {name!r}{hint}. 'rcn-search leaderboard --format csv' lists all"
        )
    return found


def find_entries_under(
    entries: Mapping[str, Entry], name: str, *, protocol: str, dataset: str, subset: str
) -> list[Entry]:
    """Of what `find_entries` finds, the entries of one protocol; an entry that is named by its id is of any.

    Args:
        entries: By id.
        name: An id, or a method.
        protocol: Name of it.
        dataset: Of the images; empty for any.
        subset: Of them; empty for any.

    Raises:
        ValueError: There is none.
    """
    found = [
        entry
        for entry_id, entry in find_entries(entries, name).items()
        if (entry.protocol.name == protocol or name == entry_id)
        and dataset in ("", entry.protocol.dataset)
        and subset in ("", entry.protocol.subset)
    ]
    if not found:
        raise ValueError(f"{name!r} has no entry under {protocol} of {dataset or 'any data'} {subset}".rstrip())
    return found


def find_predictions(leaderboard: str, entry: Entry, other_uris: Mapping[str, str]) -> Predictions | None:
    """The predictions that an entry was scored from, if they can still be read and are the same bytes.

    Args:
        leaderboard: Its predictions folder may hold them.
        entry: Of the leaderboard.
        also: URIs of other prediction files by their SHA-256 (`hashed`).
    """
    places = [
        other_uris.get(entry.predictions_sha256),
        entry.predictions_uri,
        storage.join(leaderboard, PREDICTIONS, f"{entry.predictions_sha256}.parquet"),
    ]
    for uri in filter(None, places):
        try:
            if hashlib.sha256(storage.read_bytes(uri)).hexdigest() == entry.predictions_sha256:
                return read_predictions(uri)
        except OSError:
            continue
    return None


def hash_prediction_files(uris: Iterable[str]) -> dict[str, str]:
    """URIs of prediction files by their SHA-256; a folder stands for all ``.parquet`` files right in it.

    Raises:
        FileNotFoundError: One is not there.
    """
    return {hashlib.sha256(storage.read_bytes(uri)).hexdigest(): uri for each in uris for uri in _files(each)}


def _files(uri: str) -> Iterator[str]:
    names = storage.list_names(uri) if not uri.endswith(".parquet") else []
    found = [storage.join(uri, name) for name in names if name.endswith(".parquet")]
    yield from found or [uri]
