"""Entries again from their prediction files: under another protocol, or with all that an older version did not keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rcn_search import __version__
from rcn_search.evaluation.protocol import Normalizer, Protocol, named_protocol, subpixel
from rcn_search.keypoints import POINT_SUBSETS
from rcn_search.leaderboard.entry_fields import score_entry_fields
from rcn_search.leaderboard.lookup import Entries, find_predictions
from rcn_search.leaderboard.records import Entry, add_entry


class Rescored(NamedTuple):
    """What became of one entry: the URI of the one that was added, or why none was."""

    entry_id: str
    uri: str
    reason: str


def rescore(
    leaderboard: str,
    entries: Entries,
    chosen: Entries,
    *,
    protocol: str | None = None,
    normalizer: Normalizer | None = None,
    predictions: Mapping[str, str],
) -> list[Rescored]:
    """Score prediction files of entries once more. Nothing is looked at anew, so no look is counted.

    Args:
        leaderboard: URI of the leaderboard.
        entries: All that are on it.
        chosen: Those to score.
        protocol: Name of the protocol; by default the entry's own.
        normalizer: Of ``subpixel``, instead of a protocol.
        predictions: Prediction files by SHA-256, beside those the leaderboard knows.

    Raises:
        ValueError: There is no protocol of that name.
    """
    there = {(each.predictions_sha256, each.protocol) for each in entries.values() if each.errors_sha256}
    results = []
    for entry_id, entry in chosen.items():
        asked = _asked(entry, protocol, normalizer)
        if (entry.predictions_sha256, asked) in there:
            results.append(Rescored(entry_id, "", f"is on the leaderboard under {asked.name} already"))
            continue
        there.add((entry.predictions_sha256, asked))
        found = find_predictions(leaderboard, entry, predictions)
        if found is None:
            reason = f"its prediction file {entry.predictions_sha256[:12]}… is not there; name it with --predictions"
            results.append(Rescored(entry_id, "", reason))
            continue
        try:
            measured = score_entry_fields(leaderboard, found, asked)
        except ValueError as error:
            results.append(Rescored(entry_id, "", str(error)))
            continue
        replaces = entry_id if asked == entry.protocol else None
        kept = {name: getattr(entry, name) for name in _PROVENANCE}
        again = Entry(**kept, **measured, code_version=__version__, replaces=replaces)
        if replaces and not again.supersedes(entry):
            reason = (
                f"its predictions now score {again.error_pct:.4f} %, not {entry.error_pct:.4f} %: nothing was added"
            )
            results.append(Rescored(entry_id, "", reason))
            continue
        results.append(Rescored(entry_id, add_entry(leaderboard, again), ""))
    return results


_PROVENANCE = (
    *("method", "origin", "run_id", "config", "num_params", "multiply_adds", "epochs", "train_s", "hardware"),
    *("test_looks", "predictions_sha256", "predictions_uri", "latency_ms", "source"),
)


def _asked(entry: Entry, protocol: str | None, normalizer: Normalizer | None) -> Protocol:
    own = entry.protocol
    schema, _ = POINT_SUBSETS.get(own.keypoints, (own.keypoints, ()))
    place = own.dataset, own.subset
    if normalizer is not None:
        return subpixel(*place, schema, normalizer)
    if protocol is None:
        return own
    return named_protocol(protocol, *place, "ibug49" if protocol == "rcn2016-49" else schema)
