"""Errors by difficulty: bins of images from the easiest to the hardest, and each method's errors in each bin.

The difficulty of an image is its mean error over the methods, so that no method chooses its own easy images.
Array names end in their axes: m methods, n images, b bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.figures import style
from rcn_search.evaluation.figures.comparison import MethodComparison
from rcn_search.evaluation.metrics import Array, bootstrap_interval


@dataclass(frozen=True, kw_only=True)
class DifficultyBins:
    """Mean errors of the methods in each bin, the easiest bin first.

    ``low_pct_mb`` and ``high_pct_mb`` end their 95 % bootstrap intervals; NaN where a bin has fewer than two groups.
    """

    num_images_b: NDArray[np.int64]
    mean_pct_mb: Array
    low_pct_mb: Array
    high_pct_mb: Array


def assign_bins(error_pct_mn: Array, num_bins: int) -> NDArray[np.int64]:
    """Assign each image a bin, (n,), by the rank of its mean error over the methods; sizes differ by at most one.

    Raises:
        RcnSearchError: There are fewer images than bins.
    """
    num_images = error_pct_mn.shape[1]
    if num_images < num_bins:
        raise RcnSearchError(
            f"{num_images} images that are included for every method do not fill {num_bins} bins; ask for fewer"
        )
    rank_n = np.argsort(np.argsort(error_pct_mn.mean(axis=0), kind="stable"))
    return np.asarray(rank_n * num_bins // num_images)


def bin_by_difficulty(comparison: MethodComparison, num_bins: int) -> DifficultyBins:
    """Bin the images that are included for every method, and average each method's errors in each bin."""
    included_n = np.isfinite(comparison.error_pct_mn).all(axis=0)
    error_pct_mn, group_n = comparison.error_pct_mn[:, included_n], comparison.group_n[included_n]
    bin_n = assign_bins(error_pct_mn, num_bins)
    shape = (len(error_pct_mn), num_bins)
    mean_pct_mb, low_pct_mb, high_pct_mb = (np.full(shape, np.nan) for _ in range(3))
    for index in range(num_bins):
        in_bin_n = bin_n == index
        for method, error_pct_n in enumerate(error_pct_mn[:, in_bin_n]):
            mean_pct_mb[method, index] = error_pct_n.mean()
            if interval := bootstrap_interval(error_pct_n, group_n[in_bin_n]):
                low_pct_mb[method, index], high_pct_mb[method, index] = interval
    return DifficultyBins(
        num_images_b=np.bincount(bin_n, minlength=num_bins),
        mean_pct_mb=mean_pct_mb,
        low_pct_mb=low_pct_mb,
        high_pct_mb=high_pct_mb,
    )


def plot_difficulty(comparison: MethodComparison, difficulty: DifficultyBins, uri: str) -> None:
    """Plot the mean error of each method, with its interval, against the difficulty percentile."""
    num_methods, num_bins = difficulty.mean_pct_mb.shape
    width = 100 / num_bins
    figure, (axes,) = style.panels(1, height=4.4 + 0.18 * num_methods)
    style.label_axes(
        axes,
        "difficulty of an image, percentile of its mean error over the methods",
        "mean error and its 95 % interval, %",
    )
    for index, method in enumerate(comparison.methods):
        mean_b = difficulty.mean_pct_mb[index]
        # Side by side within the bin, so that the intervals do not hide each other.
        shift = (index - (num_methods - 1) / 2) * min(0.12, 0.6 / num_methods)
        length_2b = np.nan_to_num([mean_b - difficulty.low_pct_mb[index], difficulty.high_pct_mb[index] - mean_b])
        x_b = (np.arange(num_bins) + 0.5 + shift) * width
        line = style.line_style(index) | {"linewidth": 1.0, "label": style.wrap_text(method)}
        axes.errorbar(x_b, mean_b, yerr=length_2b.clip(min=0), capsize=2, elinewidth=1.2, **line)
    axes.set_xlim(0, 100)
    axes.set_xticks(np.linspace(0, 100, min(num_bins, 10) + 1))
    axes.xaxis.set_major_formatter("{x:.3g}")
    style.use_log_scale_if_wide(axes, "y", difficulty.mean_pct_mb.ravel().tolist(), 3)
    style.add_legend_below(figure, axes)
    sizes = " or ".join(f"{size:,}" for size in np.unique(difficulty.num_images_b))
    style.set_title(figure, f"{comparison.title}, {num_bins} bins of {sizes}", str(comparison.protocol))
    style.save_figure(figure, uri)
