"""From a prediction file and its score to what an entry says of them; the errors of all images are put away first."""

from __future__ import annotations

from typing import Any

from rcn_search import storage
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.protocol import Protocol
from rcn_search.evaluation.score import Score, score
from rcn_search.leaderboard.per_image import image_set_of, store_errors

_MADE_WITH = ("decoder", "tta", "denoiser", "shift_px")


def entry_fields(leaderboard: str, predictions: Predictions, protocol: Protocol, scored: Score) -> dict[str, Any]:
    """Everything of an `Entry` that comes from the predictions. The errors of their images are on the leaderboard after."""
    per_image = store_errors(leaderboard, image_set_of(predictions), scored.errors.error_pct_n)
    return {
        "protocol": protocol,
        "error_pct": scored.error.pct,
        "ci_low_pct": scored.error.low_pct,
        "ci_high_pct": scored.error.high_pct,
        "num_images": scored.num_images,
        "excluded": scored.excluded,
        "auc": scored.auc,
        "failure_rate": scored.failure_rate,
        "p90": scored.p90,
        "p95": scored.p95,
        "p99": scored.p99,
        "points": scored.points,
        "parts": scored.parts,
        "images_sha256": per_image.images_sha256,
        "errors_sha256": per_image.errors_sha256,
        "fingerprint": predictions.meta["fingerprint"],
        "made_with": {name: predictions.meta[name] for name in _MADE_WITH if name in predictions.meta},
    }


def score_entry_fields(leaderboard: str, predictions: Predictions, protocol: Protocol) -> dict[str, Any]:
    """`measured_fields` of predictions that are scored for it.

    Raises:
        ValueError: See `score`.
    """
    return entry_fields(leaderboard, predictions, protocol, score(predictions, protocol))


def shareable_uri(uri: str) -> str | None:
    """Where something is, for a record that others read; None where the URI itself holds a user's name or a key."""
    scheme, _, rest = uri.rpartition("://")
    return None if scheme and "@" in rest.partition("/")[0] else storage.absolute(uri)
