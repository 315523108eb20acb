"""Error against confidence: points in bins from the least to the most confident, with the radius of each bin.

Array names end in their axes: p points of all images that count, b bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.figures import style
from rcn_search.evaluation.figures.comparison import MethodComparison
from rcn_search.evaluation.metrics import Array, image_errors, normalizer_lengths
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.protocol import EvaluationProtocol

_QUANTILES = (0.5, 0.9)
_FEW, _MANY = 50, 20
"""Points of a bin at least; bins at most."""


@dataclass(frozen=True, kw_only=True)
class ConfidenceBins:
    """Errors of the points in each bin, the least confident first.

    Attributes:
        confidence_b: Median confidence.
        median_pct_b, p90_pct_b: Error that half, and 90 %, of the points do not exceed.
        radius_pct_b: Mean radius; None where there is none.
        num_points_b: Number of points.
    """

    confidence_b: Array
    median_pct_b: Array
    p90_pct_b: Array
    radius_pct_b: Array | None
    num_points_b: NDArray[np.int64]


def bin_by_confidence(predictions: Predictions, protocol: EvaluationProtocol) -> ConfidenceBins:
    """Bin the points that count by their confidence, in bins of equal size as far as confidences differ.

    Raises:
        RcnSearchError: All confidences are equal, as those of networks that predict coordinates are.
    """
    error_pct_nk = image_errors(predictions, protocol).error_pct_nk
    counts_nk = np.isfinite(error_pct_nk)
    error_pct_p, confidence_p = error_pct_nk[counts_nk], predictions.confidence_nk[counts_nk].astype(np.float64)
    num_bins = max(min(len(error_pct_p) // _FEW, _MANY), 2)
    edges = np.unique(np.quantile(confidence_p, np.arange(1, num_bins) / num_bins, method="inverted_cdf"))
    bin_p = np.searchsorted(edges, confidence_p, side="left")
    bins = np.unique(bin_p)
    if len(bins) < 2:
        raise RcnSearchError(
            f"all points of {predictions.meta['method']!r} have the same confidence, so nothing can be drawn against it"
        )
    members = [bin_p == index for index in bins]
    radius_p = _radii_pct(predictions, protocol, counts_nk)
    median_pct_b, p90_pct_b = np.array([np.quantile(error_pct_p[member], _QUANTILES) for member in members]).T
    return ConfidenceBins(
        confidence_b=np.array([np.median(confidence_p[member]) for member in members]),
        median_pct_b=median_pct_b,
        p90_pct_b=p90_pct_b,
        radius_pct_b=None if radius_p is None else np.array([radius_p[member].mean() for member in members]),
        num_points_b=np.array([member.sum() for member in members]),
    )


def _radii_pct(predictions: Predictions, protocol: EvaluationProtocol, counts_nk: NDArray[np.bool_]) -> Array | None:
    """Return the radius of each point that counts, in percent of the normalizer."""
    if predictions.radius_nk is None:
        return None
    true_nk2 = predictions.true_image_nk2.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):  # of images that are excluded
        length_n = normalizer_lengths(true_nk2, counts_nk, predictions.schema, protocol.normalizer)
        radius_pct_nk = 100.0 * predictions.radius_nk / length_n[:, None]
    return np.asarray(radius_pct_nk[counts_nk])


def plot_confidence(comparison: MethodComparison, binned: Sequence[ConfidenceBins], uri: str) -> None:
    """Plot the median error, the error that 90 % do not exceed, and the radius of each method against confidence."""
    figure, (axes,) = style.panels(1, height=4.4 + 0.36 * len(binned))
    style.label_axes(axes, "confidence of a point", "error of a point, %")
    for index, (method, bins) in enumerate(zip(comparison.methods, binned, strict=True)):
        line = style.line_style(index)
        axes.plot(bins.confidence_b, bins.median_pct_b, **line, label=style.wrap_text(f"{method}: median"))
        band = line | {"marker": "", "linestyle": "-", "linewidth": 1.0}
        axes.plot(bins.confidence_b, bins.p90_pct_b, **band, label="90 % of the points up to")
        if bins.radius_pct_b is not None:
            dotted = band | {"linestyle": ":", "linewidth": 2.0}
            axes.plot(bins.confidence_b, bins.radius_pct_b, **dotted, label="mean radius of 90 %")
    drawn = [value for bins in binned for value in (*bins.median_pct_b, *bins.p90_pct_b)]
    style.use_log_scale_if_wide(axes, "y", drawn, 5)
    style.add_legend_below(figure, axes)
    num_points = " or ".join(f"{size:,}" for size in sorted({int(bins.num_points_b.sum()) for bins in binned}))
    style.set_title(figure, f"{comparison.title}, {num_points} points", str(comparison.protocol))
    style.save_figure(figure, uri)
