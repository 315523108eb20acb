"""Errors of each image and keypoint under a protocol, and the figures that summarize them. NumPy only.

Array names end in their axes: n images, k keypoints, 2 for x and y. Distances are float64.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.bootstrap import NUM_RESAMPLES, Interval, bootstrap_intervals
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.protocol import EvaluationProtocol, Normalizer
from rcn_search.keypoints import KeypointSchema, subset_indices

Array = NDArray[np.float64]

MIN_NORMALIZER_PX = 1.0
"""Smallest normalizer that counts, in the pixels of the protocol: with a smaller one errors mean nothing."""

NO_VISIBLE_POINT = "no visible point"
NON_FINITE_TRUTH = "non-finite truth"
NON_FINITE_NORMALIZER = "non-finite normalizer"
TINY_NORMALIZER = "normalizer under 1 px"
NON_FINITE_PREDICTION = "non-finite prediction"


@dataclass(frozen=True, kw_only=True)
class ImageErrors:
    """Errors of the images of one prediction file under one protocol.

    Attributes:
        error_pct_nk: Error of each point; NaN for points that do not count and for excluded images.
        error_pct_n: Mean over the points that count; NaN for excluded images.
        excluded_n: Reason why an image is excluded; empty if it is included.
    """

    error_pct_nk: Array
    error_pct_n: Array
    excluded_n: NDArray[np.str_]

    @property
    def is_included_n(self) -> NDArray[np.bool_]:
        """Whether each image is included."""
        return np.asarray(self.excluded_n == "")

    @property
    def excluded(self) -> dict[str, int]:
        """Number of excluded images by reason."""
        return dict(sorted(Counter(self.excluded_n[~self.is_included_n].tolist()).items()))


def image_errors(predictions: Predictions, protocol: EvaluationProtocol) -> ImageErrors:
    """Compute the normalized distance of every point of every image, in percent.

    On a grid (Honari et al. 2016, eq. 4) the true point is clamped to the face box and rounded down to a cell, the
    prediction is its cell, moved into the photograph if it lies outside, the normalizer comes from the true points
    before clamping, and every labeled point counts. At full resolution everything is in pixels of the original image,
    and the visible points count.

    Raises:
        RcnSearchError: The predictions have other keypoints or another grid than ``protocol``.
    """
    schema = predictions.schema
    try:
        wanted = subset_indices(schema, protocol.keypoints)
    except ValueError:
        raise RcnSearchError(
            f"the predictions have {schema.name!r} points; {protocol.name} here needs {protocol.keypoints!r}"
        ) from None
    points = _grid_points(predictions, protocol) if protocol.grid_px else _image_points(predictions)
    counts_nk = points.counts_nk & np.isin(np.arange(schema.num_points), wanted)
    with np.errstate(invalid="ignore"):  # a normalizer that is not finite is excluded below
        normalizer_n = normalizer_lengths(points.true_unrounded_nk2, counts_nk, schema, protocol.normalizer)
    excluded_n = np.select(
        [
            ~counts_nk.any(axis=1),
            (counts_nk & ~np.isfinite(points.true_unrounded_nk2).all(axis=2)).any(axis=1),
            ~np.isfinite(normalizer_n),
            normalizer_n < MIN_NORMALIZER_PX,
            (counts_nk & ~np.isfinite(points.pred_unrounded_nk2).all(axis=2)).any(axis=1),
        ],
        [NO_VISIBLE_POINT, NON_FINITE_TRUTH, NON_FINITE_NORMALIZER, TINY_NORMALIZER, NON_FINITE_PREDICTION],
        default="",
    )
    counts_nk = counts_nk & (excluded_n == "")[:, None]
    error_pct_nk = np.full(counts_nk.shape, np.nan)
    distance = np.linalg.norm(points.pred_nk2[counts_nk] - points.true_nk2[counts_nk], axis=1)
    error_pct_nk[counts_nk] = 100.0 * distance / normalizer_n[np.nonzero(counts_nk)[0]]
    num_points_n = counts_nk.sum(axis=1)
    error_pct_n = np.full(len(predictions), np.nan)
    np.divide(np.nansum(error_pct_nk, axis=1), num_points_n, out=error_pct_n, where=num_points_n > 0)
    return ImageErrors(error_pct_nk=error_pct_nk, error_pct_n=error_pct_n, excluded_n=excluded_n)


class _Points(NamedTuple):
    """Points in the coordinates of a protocol, rounded and not, and which of them count."""

    true_nk2: Array
    pred_nk2: Array
    true_unrounded_nk2: Array
    pred_unrounded_nk2: Array
    counts_nk: NDArray[np.bool_]


def _image_points(predictions: Predictions) -> _Points:
    true_nk2 = predictions.true_image_nk2.astype(np.float64)
    pred_nk2 = predictions.pred_image_nk2.astype(np.float64)
    return _Points(true_nk2, pred_nk2, true_nk2, pred_nk2, predictions.visible)


def _grid_points(predictions: Predictions, protocol: EvaluationProtocol) -> _Points:
    grid_px = protocol.grid_px
    assert grid_px is not None
    if predictions.meta["grid_px"] != grid_px:
        raise RcnSearchError(
            f"the predictions are cells of a {predictions.meta['grid_px']} px grid; {protocol.name} needs one of "
            f"{grid_px} px. Train with input.size_px={grid_px}, or score under subpixel"
        )
    true_nk2 = _to_face_box(predictions) * grid_px
    return _Points(
        true_nk2=np.floor(np.clip(true_nk2, 0.0, 0.99999 * grid_px)),
        pred_nk2=_clip_to_photo(predictions, grid_px),
        true_unrounded_nk2=true_nk2,
        pred_unrounded_nk2=predictions.pred_crop_nk2.astype(np.float64),
        counts_nk=predictions.visible | np.isfinite(predictions.true_crop_nk2).all(axis=2),
    )


def _clip_to_photo(predictions: Predictions, grid_px: int) -> Array:
    """Clip the predicted cells (n, k, 2) to the photograph, so that none lies in the black padding of its crop.

    Like the paper's code for 300-W, this also moves points that are annotated at an edge of the photograph to that
    edge. That uses the true points; it is done because the published errors are computed so.
    """
    cell_nk2 = predictions.pred_cell_nk2.astype(np.float64)
    if predictions.photo_n4 is None or predictions.edge_nk is None:
        return cell_nk2
    face_n4, photo_n4 = predictions.face_box.astype(np.float64), predictions.photo_n4.astype(np.float64)
    face_end_n2, photo_end_n2 = face_n4[:, :2] + face_n4[:, 2:], photo_n4[:, :2] + photo_n4[:, 2:]
    side_n1 = face_n4[:, 2:3]
    first_n2 = np.round(np.maximum(0, photo_n4[:, :2] - face_n4[:, :2]) / side_n1 * grid_px)
    last_n2 = grid_px - np.round(np.maximum(0, face_end_n2 - photo_end_n2) / side_n1 * grid_px)
    for code, (axis, limit_n2) in enumerate([(0, first_n2), (1, first_n2), (0, last_n2), (1, last_n2)], start=1):
        is_at_edge_nk = predictions.edge_nk == code
        cell_nk2[:, :, axis] = np.where(is_at_edge_nk, limit_n2[:, None, axis], cell_nk2[:, :, axis])
    return np.asarray(np.clip(cell_nk2, first_n2[:, None], last_n2[:, None]))


def _to_face_box(predictions: Predictions) -> Array:
    """Convert true points (n, k, 2) to shares of the face box; not finite where the box has no width."""
    box_n4 = predictions.face_box.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((predictions.true_crop_nk2 - box_n4[:, None, :2]) / box_n4[:, None, 2:3])


def normalizer_lengths(
    points_nk2: Array, counts_nk: NDArray[np.bool_], schema: KeypointSchema, name: Normalizer
) -> Array:
    """Compute the normalizing length of each image, (n,), in the unit of the points."""
    if name in ("box", "diagonal"):
        low_n2 = np.where(counts_nk[:, :, None], points_nk2, np.inf).min(axis=1)
        high_n2 = np.where(counts_nk[:, :, None], points_nk2, -np.inf).max(axis=1)
        side_n2 = high_n2 - low_n2
        return np.asarray(np.sqrt(side_n2.prod(axis=1)) if name == "box" else np.hypot(side_n2[:, 0], side_n2[:, 1]))
    if name not in schema.normalizers:
        raise RcnSearchError(
            f"{schema.name!r} points have no normalizer {name!r}; they have {', '.join(schema.normalizer_names)}"
        )
    first, second = schema.normalizers[name]
    return np.asarray(np.linalg.norm(points_nk2[:, first].mean(axis=1) - points_nk2[:, second].mean(axis=1), axis=1))


def failure_rate_pct(error_pct_n: Array, threshold_pct: float) -> float:
    """Compute the share of images above the threshold; an error of exactly the threshold is not a failure."""
    return 100.0 * float(np.mean(error_pct_n > threshold_pct))


def auc_pct(error_pct_n: Array, threshold_pct: float) -> float:
    """Compute the exact area under the cumulative error curve from 0 to the threshold, 100 for a perfect method.

    The curve is a step function: its mean height is the mean over images of the rest of the threshold above the error.
    """
    return 100.0 * float(np.mean(np.maximum(0.0, threshold_pct - error_pct_n))) / threshold_pct


def cumulative_errors(error_pct_n: Array, end_pct: float = 0.0) -> tuple[Array, Array]:
    """Return errors in ascending order, and the share of images with at most each error, both in percent.

    They are a step function from (0, 0) to ``end_pct`` or the largest error. At least one error is needed.
    """
    errors, counts = np.unique(error_pct_n, return_counts=True)
    shares = 100.0 * np.cumsum(counts) / len(error_pct_n)
    return np.concatenate([[0.0], errors, [max(end_pct, errors[-1])]]), np.concatenate([[0.0], shares, [100.0]])


def bootstrap_interval(
    error_pct_n: Array, group_n: NDArray[np.str_], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Interval | None:
    """Compute the 95 % interval of the mean error by resampling groups of images; None with fewer than two groups."""
    (interval,), _ = bootstrap_intervals(error_pct_n[:, None], group_n, num_resamples=num_resamples, seed=seed)
    return interval
