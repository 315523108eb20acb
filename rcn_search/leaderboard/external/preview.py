"""Look at one picture's points beside the true ones before anything is counted, and refuse implausible distances.

A preview shows the distances of one picture only: errors of a test split are for counted test evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.metrics import ImageErrors, image_errors
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.protocol import EvaluationProtocol
from rcn_search.leaderboard.external.hints import explain_distances

MAX_MEDIAN_PCT = 30.0
"""Largest plausible median error: a third of the distance between the eyes. Without any training, the mean face of a
data set does better."""
MAX_MEAN_PCT = 100.0
"""Largest plausible mean error, which a few points far outside of their images exceed."""


class PointDistance(NamedTuple):
    """One keypoint of a picture: true and predicted x and y in pixels of the original image, and their distance."""

    keypoint: str
    true_px: tuple[float, float]
    predicted_px: tuple[float, float]
    distance_px: float


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What is shown of predictions before they are counted.

    Attributes:
        image_id: The picture: the first of the split with a prediction.
        points: Its keypoints that count.
        median_px: Median distance of ``points``, px of the original image.
        median_pct: The same in percent of ``normalizer``.
        hint: Mistake of format that would explain the distances of all images much better; empty if there is none.
        implausible: Why the predictions are refused; empty if they are plausible.
    """

    image_id: str
    points: list[PointDistance]
    median_px: float
    median_pct: float
    normalizer: str
    hint: str
    implausible: str


def preview(predictions: Predictions, protocols: Sequence[EvaluationProtocol]) -> Preview:
    """Compare predictions with the true points, under the first protocol at full resolution.

    Raises:
        RcnSearchError: No image can be scored under one of the protocols, or the keypoints have no such normalizer.
    """
    errors_of = {protocol: image_errors(predictions, protocol) for protocol in protocols}
    for protocol, errors in errors_of.items():
        if not errors.is_included_n.any():
            raise RcnSearchError(
                f"no image to score under {protocol.name}: {errors.excluded or 'the prediction file is empty'}"
            )
    protocol, errors = next((protocol, errors) for protocol, errors in errors_of.items() if protocol.grid_px is None)
    row = int(errors.is_included_n.argmax())
    counts_nk = np.isfinite(errors.error_pct_nk)
    true_nk2 = predictions.true_image_nk2.astype(np.float64)
    pred_nk2 = predictions.pred_image_nk2.astype(np.float64)
    distance_k = np.linalg.norm(pred_nk2[row] - true_nk2[row], axis=1)
    return Preview(
        image_id=str(predictions.image_id[row]),
        points=[
            PointDistance(
                predictions.schema.names[k],
                (true_nk2[row, k, 0], true_nk2[row, k, 1]),
                (pred_nk2[row, k, 0], pred_nk2[row, k, 1]),
                distance_k[k],
            )
            for k in np.nonzero(counts_nk[row])[0]
        ],
        median_px=float(np.median(distance_k[counts_nk[row]])),
        median_pct=float(np.median(errors.error_pct_nk[row, counts_nk[row]])),
        normalizer=protocol.normalizer,
        hint=explain_distances(
            pred_nk2[errors.is_included_n],
            true_nk2[errors.is_included_n],
            predictions.true_crop_nk2[errors.is_included_n].astype(np.float64),
            counts_nk=counts_nk[errors.is_included_n],
            flip=predictions.schema.flip,
        ),
        implausible=_implausible(errors, protocol.normalizer),
    )


def _implausible(errors: ImageErrors, normalizer: str) -> str:
    error_pct_n = errors.error_pct_n[errors.is_included_n]
    averages = (("median", np.median(error_pct_n), MAX_MEDIAN_PCT), ("mean", np.mean(error_pct_n), MAX_MEAN_PCT))
    for name, value, limit in averages:
        if value > limit:
            return f"the {name} error is {value:,.0f} % of {normalizer}; more than {limit:.0f} % is not plausible"
    return ""
