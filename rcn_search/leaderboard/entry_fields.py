"""Fields of a leaderboard entry that come from a prediction file and its score."""

from __future__ import annotations

from typing import Any

from rcn_search import storage
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.protocol import EvaluationProtocol
from rcn_search.evaluation.score import Score, score
from rcn_search.leaderboard.per_image import image_set_of, store_errors

_MADE_WITH = ("decoder", "tta", "denoiser", "shift_px")


def entry_fields(
    leaderboard: str, predictions: Predictions, protocol: EvaluationProtocol, protocol_score: Score
) -> dict[str, Any]:
    """Store the per-image errors and return the fields of an `Entry` that come from the predictions."""
    stored = store_errors(leaderboard, image_set_of(predictions), protocol_score.errors.error_pct_n)
    return {
        "protocol": protocol,
        "error_pct": protocol_score.error.pct,
        "ci_low_pct": protocol_score.error.low_pct,
        "ci_high_pct": protocol_score.error.high_pct,
        "num_images": protocol_score.num_images,
        "excluded": protocol_score.excluded,
        "auc": protocol_score.auc,
        "failure_rate": protocol_score.failure_rate,
        "p90": protocol_score.p90,
        "p95": protocol_score.p95,
        "p99": protocol_score.p99,
        "points": protocol_score.points,
        "parts": protocol_score.parts,
        "images_sha256": stored.images_sha256,
        "errors_sha256": stored.errors_sha256,
        "fingerprint": predictions.meta["fingerprint"],
        "made_with": {name: predictions.meta[name] for name in _MADE_WITH if name in predictions.meta},
    }


def score_entry_fields(leaderboard: str, predictions: Predictions, protocol: EvaluationProtocol) -> dict[str, Any]:
    """Score predictions under ``protocol`` and return their `entry_fields`.

    Raises:
        RcnSearchError: The predictions cannot be scored under this protocol.
    """
    return entry_fields(leaderboard, predictions, protocol, score(predictions, protocol))


def shareable_uri(uri: str) -> str | None:
    """Return the absolute URI for a record that others read; None if it holds a user name or a key."""
    scheme, _, rest = uri.rpartition("://")
    return None if scheme and "@" in rest.partition("/")[0] else storage.absolute(uri)
