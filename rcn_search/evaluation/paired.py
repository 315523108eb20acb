"""Compare two methods on the same images: mean difference, interval, and p value. NumPy only.

Both must have been scored under one protocol on the same images in the same order. Images of one group (an identity, a
photograph) are not independent, so groups are resampled. Images without an error (NaN) for either method are left out
for both.

Array names end in their axes: n images, g groups, b resamples, k columns, s seeds of one method, t seeds of the other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.bootstrap import NUM_RESAMPLES, Array, Interval, resample_groups

Names = NDArray[np.str_]


class Difference(NamedTuple):
    """A mean difference over images in percentage points, below 0 where the first method is better.

    Its 95 % interval and the two-sided p value of the hypothesis of no difference are None with fewer than two groups.
    """

    mean: float
    interval: Interval | None
    p: float | None

    @property
    def is_tie(self) -> bool:
        """Whether the interval includes 0 or does not exist, so that neither method is shown to be better."""
        return self.interval is None or self.interval[0] <= 0 <= self.interval[1]

    def __str__(self) -> str:
        """Format for sentences, without the sign: ``0.40 points (95 % interval 0.31 to 0.49)``."""
        sign = 1 if self.mean >= 0 else -1
        if self.interval is None:
            return f"{abs(self.mean):.2f} points"
        low, high = sorted(sign * end for end in self.interval)
        return f"{abs(self.mean):.2f} points (95 % interval {low:.2f} to {high:.2f})"


def paired_difference(
    error_pct_a_n: Array, error_pct_b_n: Array, group_n: Names, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Difference:
    """Compute how much larger the first error is, with the percentile interval of the bootstrap over groups.

    The interval holds for other images and these two sets of weights. For other trainings of the same two
    configurations, several seeds of each are needed: see `seeded_difference`.

    >>> str(paired_difference(np.array([3.0, 5.0]), np.array([2.0, 2.0]), np.array(["a", "a"])))
    '2.00 points'
    """
    return seeded_difference(error_pct_a_n[None], error_pct_b_n[None], group_n, num_resamples=num_resamples, seed=seed)


def seeded_difference(
    error_pct_a_sn: Array, error_pct_b_tn: Array, group_n: Names, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Difference:
    """Compute `paired_difference` of the means over seeds, with an interval for other images and other seeds.

    Groups of images are resampled. Seeds are too few for resampling: with three it would see two thirds of the variance
    and none of the uncertainty about it. Instead each resample is shifted by Student's t times the spread of the seeds'
    means. That spread is taken to be the same for both methods, and reduced by the part that is due to the images,
    which the resampling covers already. With one seed each this is `paired_difference`.

    Raises:
        RcnSearchError: The arrays have different lengths, or no image has an error under both methods.
    """
    difference_n = error_pct_a_sn.mean(axis=0) - error_pct_b_tn.mean(axis=0)
    if difference_n.shape != group_n.shape:
        raise RcnSearchError(f"{difference_n.shape} differences in groups of shape {group_n.shape}")
    finite_n = np.isfinite(difference_n)
    if not finite_n.any():
        raise RcnSearchError("no image has an error under both methods: there is nothing to compare")
    difference_n = difference_n[finite_n]
    groups, index_n = np.unique(group_n[finite_n], return_inverse=True)
    mean, num_groups = float(difference_n.mean()), len(groups)
    if num_groups < 2:
        return Difference(mean, None, None)
    mean_b = _resampled_means(difference_n, index_n, num_groups, num_resamples, seed)
    num_a, num_b = len(error_pct_a_sn), len(error_pct_b_tn)
    if (num_free := num_a + num_b - 2) == 0:
        return _summarize(mean, mean_b)
    variance = 0.0
    for error_pct_sn in (error_pct_a_sn[:, finite_n], error_pct_b_tn[:, finite_n]):
        deviation_sn = error_pct_sn - error_pct_sn.mean(axis=0)
        mean_s = deviation_sn.mean(axis=1)
        residual_sg = np.stack([np.bincount(index_n, residual_n) for residual_n in deviation_sn - mean_s[:, None]])
        image_variance_s = (residual_sg**2).sum(axis=1) / len(index_n) ** 2 * num_groups / (num_groups - 1)
        variance += float((mean_s**2 - image_variance_s).sum()) / num_free
    spread = np.sqrt(max(0.0, variance) * (1 / num_a + 1 / num_b))
    return _summarize(mean, mean_b + spread * np.random.default_rng(seed + 1).standard_t(num_free, num_resamples))


def _resampled_means(
    difference_n: Array, index_n: NDArray[np.intp], num_groups: int, num_resamples: int, seed: int
) -> Array:
    total_gk = np.stack([np.bincount(index_n, difference_n), np.bincount(index_n)], axis=1)
    means: list[Array] = []
    for count_bg in resample_groups(num_groups, num_resamples, seed):
        sum_bk = count_bg.astype(np.float64) @ total_gk
        means.append(sum_bk[:, 0] / sum_bk[:, 1])
    return np.concatenate(means)


def _summarize(mean: float, mean_b: Array) -> Difference:
    """Compute interval and p value from the means of the resamples."""
    low, high = np.quantile(mean_b, [0.025, 0.975])
    # The observation counts as one more resample, because resampling cannot show that p is 0.
    rarer = 1 + min(np.count_nonzero(mean_b <= 0), np.count_nonzero(mean_b >= 0))
    return Difference(mean, (float(low), float(high)), min(1.0, 2 * rarer / (1 + len(mean_b))))
