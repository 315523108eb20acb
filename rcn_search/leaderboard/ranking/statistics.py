"""Ranges of ranks: rows whose difference may be chance share a range, as in 1–3.

Every two rows are compared on the same images by Student's t test of their paired differences, summed by group because
images of one group are not independent. Holm's correction keeps the pairs of a table that differ with at most 5 % risk
of a single mistake. Bootstrap as in `compare` would not do: 10,000 resamples give no p below 1 in 5,000, and with the
1,225 pairs of 50 rows Holm's correction needs less. Axes: r rows, n images, g groups.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rcn_search.evaluation.metrics import Array

ALPHA = 0.05
ROUNDING = 1e-12
"""Differences smaller than this share of the values themselves count as zero."""
_CANCELS = 1e-6


class RankRange(NamedTuple):
    """Best and worst rank: one more than the rows that are significantly better; the rows not significantly worse."""

    low: int
    high: int

    def __str__(self) -> str:
        """Format as ``2``, or as ``1–3``."""
        return str(self.low) if self.low == self.high else f"{self.low}–{self.high}"


def rank_ranges(error_pct_rn: Array, group_n: NDArray[np.str_], *, alpha: float = ALPHA) -> list[RankRange]:
    """Compute the range of ranks of each row from errors on the same images, all finite, and the images' groups.

    ``alpha`` is the risk of at least one wrong difference in the whole table.
    """
    num_rows = len(error_pct_rn)
    upper = np.triu_indices(num_rows, 1)
    different_rr = np.zeros((num_rows, num_rows), dtype=np.bool_)
    different_rr[upper] = holm(paired_p(error_pct_rn, group_n)[upper]) <= alpha
    different_rr |= different_rr.T
    mean_r = error_pct_rn.mean(axis=1)
    better_rr = different_rr & (mean_r[None, :] < mean_r[:, None])  # [i, j]: row j is significantly better than row i
    num_better_and_worse = zip(better_rr.sum(axis=1).tolist(), better_rr.sum(axis=0).tolist(), strict=True)
    return [RankRange(1 + num_better, num_rows - num_worse) for num_better, num_worse in num_better_and_worse]


def paired_p(error_pct_rn: Array, group_n: NDArray[np.str_]) -> Array:
    """Compute the two-sided p (r, r) that two rows have the same mean error; 1 with fewer than two groups."""
    groups, index_n = np.unique(group_n, return_inverse=True)
    (num_rows, num_images), num_groups = error_pct_rn.shape, len(groups)
    if num_groups < 2:
        return np.ones((num_rows, num_rows))
    mean_r = error_pct_rn.mean(axis=1)
    centered_rn = error_pct_rn - mean_r[:, None]
    centered_rn = centered_rn - centered_rn.mean(axis=0)  # what is common to all rows cancels in every difference
    centered_rg = np.stack([np.bincount(index_n, row_n, minlength=num_groups) for row_n in centered_rn])
    product_rr = centered_rg @ centered_rg.T
    squares_r = np.diagonal(product_rr)
    both_rr = squares_r[:, None] + squares_r[None, :]
    squares_rr = both_rr - 2 * product_rr
    for i, j in np.argwhere(squares_rr <= _CANCELS * both_rr):  # too few digits are left there
        squares_rr[i, j] = ((centered_rg[i] - centered_rg[j]) ** 2).sum()
    scale_r = np.abs(error_pct_rn).max(axis=1)
    scale_rr = np.maximum(scale_r[:, None], scale_r[None, :])
    difference_rr = np.abs(mean_r[:, None] - mean_r[None, :])
    constant_rr = np.sqrt(squares_rr / num_images) <= ROUNDING * scale_rr
    equal_rr = difference_rr <= ROUNDING * scale_rr
    variance_rr = np.where(constant_rr, 1.0, squares_rr) * num_groups / (num_groups - 1) / num_images**2
    from scipy.special import stdtr  # imported here because it takes 0.1 s, which most commands need not wait for

    p_rr: Array = 2 * stdtr(num_groups - 1, -difference_rr / np.sqrt(variance_rr))
    return np.where(constant_rr, np.where(equal_rr, 1.0, 0.0), p_rr)


def holm(p: Array) -> Array:
    """Correct p-values for many comparisons, so that each bounds the risk of a single false one among all.

    Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(steps, 1.0)
    return corrected
