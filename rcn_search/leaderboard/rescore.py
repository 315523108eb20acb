"""Score stored predictions again: under another protocol, or with fields that older entries lack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rcn_search import __version__
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.protocol import EvaluationProtocol, Normalizer, named_protocol, subpixel
from rcn_search.evaluation.score import score
from rcn_search.keypoints import POINT_SUBSETS
from rcn_search.leaderboard.entry_fields import entry_fields
from rcn_search.leaderboard.lookup import Entries, find_predictions
from rcn_search.leaderboard.records import Entry, add_entry


class Rescored(NamedTuple):
    """Result for one entry: the URI of the entry that was added, or the reason why none was."""

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
    """Score the prediction files of entries again. Nothing is predicted, so no test evaluation is counted.

    The protocol is by default the entry's own; ``normalizer`` is one of ``subpixel``, in place of a protocol.
    ``predictions`` are prediction files by SHA-256, in addition to those the leaderboard knows.
    """
    existing = {(entry.predictions_sha256, entry.protocol) for entry in entries.values() if entry.errors_sha256}
    results = []
    for entry_id, entry in chosen.items():
        requested = _requested_protocol(entry, protocol, normalizer)
        if (entry.predictions_sha256, requested) in existing:
            results.append(Rescored(entry_id, "", f"is on the leaderboard under {requested.name} already"))
            continue
        existing.add((entry.predictions_sha256, requested))
        try:
            rescored = _rescore_entry(leaderboard, entry_id, entry, requested, predictions)
        except (ValueError, OSError) as error:
            results.append(Rescored(entry_id, "", str(error)))
        else:
            results.append(Rescored(entry_id, add_entry(leaderboard, rescored), ""))
    return results


_COPIED = (
    *("method", "origin", "run_id", "config", "num_params", "multiply_adds", "epochs", "train_s", "hardware"),
    *("num_test_evaluations", "predictions_sha256", "predictions_uri", "latency_ms", "source"),
)


def _rescore_entry(
    leaderboard: str, entry_id: str, entry: Entry, protocol: EvaluationProtocol, prediction_uris: Mapping[str, str]
) -> Entry:
    """Make the new entry and store its per-image errors."""
    predictions = find_predictions(leaderboard, entry, prediction_uris)
    if predictions is None:
        where = f" (then at {entry.predictions_uri})" if entry.predictions_uri else ""
        raise RcnSearchError(
            f"was scored from prediction file {entry.predictions_sha256[:12]}…{where}, which is not in the "
            "leaderboard; name it with --predictions"
        )
    fields = entry_fields(leaderboard, predictions, protocol, score(predictions, protocol))
    replaces = entry_id if protocol == entry.protocol else None
    copied = {name: getattr(entry, name) for name in _COPIED}
    rescored = Entry(**copied, **fields, code_version=__version__, replaces=replaces)
    if replaces and not rescored.supersedes(entry):
        raise RcnSearchError(
            f"has predictions that now score {rescored.error_pct:.4f} %, not {entry.error_pct:.4f} %: nothing was added"
        )
    return rescored


def _requested_protocol(entry: Entry, protocol: str | None, normalizer: Normalizer | None) -> EvaluationProtocol:
    own = entry.protocol
    schema, _ = POINT_SUBSETS.get(own.keypoints, (own.keypoints, ()))
    if normalizer is not None:
        return subpixel(own.dataset, own.subset, schema, normalizer)
    if protocol is None:
        return own
    return named_protocol(protocol, own.dataset, own.subset, "ibug49" if protocol == "rcn2016-49" else schema)
