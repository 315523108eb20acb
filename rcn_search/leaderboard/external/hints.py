"""Find out whether predictions miss the true points in a way that a mistake of format explains.

Shape letters: n images, k keypoints, 2 for x and y. Points are in pixels of the original image.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MUCH_BETTER = 0.5
"""Share of the median distance that an explanation must not exceed."""
MIN_GAIN = 0.001
"""Gain of the median distance, as a share of the size of the face, below which nothing needs an explanation."""


def explain_distances(
    pred_nk2: Floats, true_nk2: Floats, true_crop_nk2: Floats, *, counts_nk: NDArray[np.bool_], flip: tuple[int, ...]
) -> str:
    """Describe the mistake that explains the distances much better than the points as they are; empty if none does.

    Tried are a constant offset, a scale, an exchange of x and y or of left and right, all x before all y, and pixels of
    the stored crop, of which ``true_crop_nk2`` are the true points. Distances are compared as shares of the diagonal of
    the true points. ``counts_nk`` says which points are compared, ``flip`` which points left and right exchange.
    """
    size_n = _diagonal(true_nk2, counts_nk)

    def median_distance(points_nk2: Floats) -> float:
        share_nk = np.linalg.norm(points_nk2 - true_nk2, axis=2) / size_n[:, None]
        return float(np.median(np.nan_to_num(share_nk, nan=np.inf)[counts_nk]))

    scale_n = size_n / _diagonal(true_crop_nk2, counts_nk)
    moved = {
        "the points may be in pixels of the stored crop": true_nk2 + (pred_nk2 - true_crop_nk2) * scale_n[:, None, None]
    }
    moved |= dict(_mistakes(pred_nk2, true_nk2, counts_nk, flip))
    given = median_distance(pred_nk2)
    best, text = min((median_distance(points_nk2), text) for text, points_nk2 in moved.items())
    if best > MUCH_BETTER * given or given - best < MIN_GAIN:
        return ""
    return f"{text}; without that the median distance would be {best / given:.0%} of what it is"


def _diagonal(points_nk2: Floats, counts_nk: NDArray[np.bool_]) -> Floats:
    """Diagonals of the boxes around the points that count, (n,), at least 1 px."""
    low_n2 = np.where(counts_nk[:, :, None], points_nk2, np.inf).min(axis=1)
    high_n2 = np.where(counts_nk[:, :, None], points_nk2, -np.inf).max(axis=1)
    return np.asarray(np.maximum(np.linalg.norm(high_n2 - low_n2, axis=1), 1.0))


def _mistakes(
    pred_nk2: Floats, true_nk2: Floats, counts_nk: NDArray[np.bool_], flip: tuple[int, ...]
) -> Iterator[tuple[str, Floats]]:
    """Yield descriptions of mistakes, and the points without them."""
    num, num_points, _ = pred_nk2.shape
    yield "x and y may be exchanged", pred_nk2[:, :, ::-1]
    yield "all x may come before all y", pred_nk2.reshape(num, 2, num_points).transpose(0, 2, 1)
    yield "x and y of each point may follow each other", pred_nk2.transpose(0, 2, 1).reshape(num, num_points, 2)
    yield "left and right may be exchanged (here they are those of the image)", pred_nk2[:, flip]
    x, y = np.round(np.median((true_nk2 - pred_nk2)[counts_nk], axis=0), 2) + 0.0  # without -0
    remedy = f", as --pixel-offset {(x + y) / 2:.2f} mends" if abs(x - y) < 0.1 else ""
    yield f"all points may be off by ({0 - x:.2f}, {0 - y:.2f}) px{remedy}", pred_nk2 + np.array([x, y])
    pred, true = pred_nk2[counts_nk].reshape(-1), true_nk2[counts_nk].reshape(-1)
    if (is_not_zero := np.abs(pred) > 1e-9).any():
        scale = float(np.median(true[is_not_zero] / pred[is_not_zero]))
        yield f"all points may have to be multiplied by {scale:.4g}", pred_nk2 * scale
