"""Fields of a leaderboard entry that come from a prediction file and its score."""

from __future__ import annotations

from typing import Any

from rcn_search import storage
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.protocol import EvaluationProtocol
from rcn_search.evaluation.score import Score
from rcn_search.leaderboard.per_image import ImageSet, store_errors

_FROM_SCORE = (
    *("num_images", "excluded", "auc", "failure_rate", "p90", "p95", "p99"),
    *("coverage", "radius", "points", "parts"),
)
_MADE_WITH = ("decoder", "tta", "denoiser", "shift_px")


def entry_fields(
    leaderboard: str, predictions: Predictions, protocol: EvaluationProtocol, protocol_score: Score
) -> dict[str, Any]:
    """Store the per-image errors and return the fields of an `Entry` that come from the predictions."""
    images = ImageSet(image_id_n=predictions.image_id, group_n=predictions.group, attributes=predictions.attributes)
    return {
        "protocol": protocol,
        "error_pct": protocol_score.error.pct,
        "ci_low_pct": protocol_score.error.low_pct,
        "ci_high_pct": protocol_score.error.high_pct,
        **{name: getattr(protocol_score, name) for name in _FROM_SCORE},
        **store_errors(leaderboard, images, protocol_score.errors.error_pct_n),
        "fingerprint": predictions.meta["fingerprint"],
        "made_with": made_with(predictions),
    }


def made_with(predictions: Predictions) -> dict[str, Any]:
    """How the predictions were made from the weights, as far as their file says."""
    return {name: predictions.meta[name] for name in _MADE_WITH if name in predictions.meta}


def shareable_uri(uri: str) -> str | None:
    """Return the absolute URI for a record that others read; None if it holds a user name or a key."""
    return storage.absolute(uri) if storage.hide_user_info(uri) == uri else None
