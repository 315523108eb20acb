"""How often the radius around a predicted point holds the true point, and how long it is. NumPy only.

Both are measured in pixels of the original image, under every protocol: a radius belongs to the sub-pixel point.
Array names end in their axes: n images, k keypoints.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rcn_search.evaluation.metrics import Array, ImageErrors, normalizer_lengths
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.protocol import EvaluationProtocol


class RadiusColumns(NamedTuple):
    """Means over the points that count of each image, (n,); NaN for excluded images.

    Attributes:
        covered_pct_n: Share of the true points that the radius holds.
        radius_pct_n: Radius in percent of the normalizer.
    """

    covered_pct_n: Array
    radius_pct_n: Array


def radius_columns(predictions: Predictions, protocol: EvaluationProtocol, errors: ImageErrors) -> RadiusColumns | None:
    """Measure the radii of predictions on the points that count; None if they have none.

    On the images by which they were fitted, radii hold what they were fitted to, so there it is None, too.
    """
    if predictions.radius_nk is None or _is_fitted_on(predictions):
        return None
    counts_nk = np.isfinite(errors.error_pct_nk)
    true_nk2, radius_nk = predictions.true_image_nk2.astype(np.float64), predictions.radius_nk.astype(np.float64)
    distance_nk = np.linalg.norm(predictions.pred_image_nk2 - true_nk2, axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):  # of images that are excluded
        length_n = normalizer_lengths(true_nk2, counts_nk, predictions.schema, protocol.normalizer)
        covered_pct_n = 100.0 * _mean(distance_nk <= radius_nk, counts_nk)
        radius_pct_n = 100.0 * _mean(radius_nk, counts_nk) / length_n
    return RadiusColumns(covered_pct_n, np.where(np.isfinite(radius_pct_n), radius_pct_n, np.nan))


def _is_fitted_on(predictions: Predictions) -> bool:
    meta = predictions.meta
    return meta.get("calibration") == {"fingerprint": meta["fingerprint"], "split": meta["split"]}


def _mean(values_nk: Array | NDArray[np.bool_], counts_nk: NDArray[np.bool_]) -> Array:
    return np.asarray(np.where(counts_nk, values_nk, 0.0).sum(axis=1) / counts_nk.sum(axis=1))
