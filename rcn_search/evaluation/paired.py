"""Two methods on the same images: their mean difference, its interval, and whether chance explains it. NumPy only.

Both must have been measured under one protocol on the same images in the same order. Images of one group (an identity,
a photo) are not independent, so groups are what is resampled. Images without an error, NaN for either method, are left
out for both.

Array names end in their axes: n images, g groups, b resamples, k columns, s seeds of one method, t of the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.bootstrap import NUM_RESAMPLES, Array, Interval, resampled_counts

Names = NDArray[np.str_]

_BATCH = 2**18


class Difference(NamedTuple):
    """A mean difference in points of a percent, below 0 where the first method is better.

    Attributes:
        mean: Over images.
        interval: 95 %; None where there is nothing to resample.
        p: Two-sided, of the hypothesis that there is none; None likewise.
    """

    mean: float
    interval: Interval | None
    p: float | None

    @property
    def is_tie(self) -> bool:
        """Whether the interval holds 0, or there is none: nothing then says which method is better."""
        return self.interval is None or self.interval[0] <= 0 <= self.interval[1]

    def __str__(self) -> str:
        """For sentences, without its sign: ``0.40 points (95 % interval 0.31 to 0.49)``."""
        sign = 1 if self.mean >= 0 else -1
        if self.interval is None:
            return f"{abs(self.mean):.2f} points"
        low, high = sorted(sign * end for end in self.interval)
        return f"{abs(self.mean):.2f} points (95 % interval {low:.2f} to {high:.2f})"


def paired_difference(
    error_pct_a_n: Array, error_pct_b_n: Array, group_n: Names, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Difference:
    """How much larger the first error is, image by image, with the percentile interval of the bootstrap over groups.

    This says what other images would have shown of these two sets of weights. What other trainings of the same two
    settings would have shown, one training of each cannot say: see `seeded_difference`.

    Raises:
        RcnSearchError: The arrays are not of the same images, or no image has an error under both.
    """
    difference_n, index_n, num_groups = _grouped(error_pct_a_n - error_pct_b_n, group_n)
    mean = float(difference_n.mean())
    if num_groups < 2:
        return Difference(mean, None, None)
    return _judged(mean, _resampled_means(difference_n, index_n, num_groups, num_resamples, seed))


def seeded_difference(
    error_pct_a_sn: Array, error_pct_b_tn: Array, group_n: Names, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Difference:
    """`paired_difference` of the means over seeds; the interval is one for other seeds too, not only other images.

    Groups of images are resampled. Seeds are too few for that: of three, resampling sees two thirds of the variance and
    none of the doubt about it. Instead each resample is moved by Student's t times the spread of the seeds' means,
    which is taken to be the same for both methods, less that part of it that other images would have too and that is
    in the first term. With one seed each it is `paired_difference`.

    Raises:
        RcnSearchError: As `paired_difference`.
    """
    num_a, num_b = len(error_pct_a_sn), len(error_pct_b_tn)
    num_free = num_a + num_b - 2
    difference_n = error_pct_a_sn.mean(axis=0) - error_pct_b_tn.mean(axis=0)
    if num_free == 0:
        return paired_difference(error_pct_a_sn[0], error_pct_b_tn[0], group_n, num_resamples=num_resamples, seed=seed)
    kept_n = np.isfinite(difference_n)
    difference_n, index_n, num_groups = _grouped(difference_n, group_n)
    mean = float(difference_n.mean())
    if num_groups < 2:
        return Difference(mean, None, None)
    variance = 0.0
    for error_pct_sn in (error_pct_a_sn[:, kept_n], error_pct_b_tn[:, kept_n]):
        of_seed_sn = error_pct_sn - error_pct_sn.mean(axis=0)
        seed_s = of_seed_sn.mean(axis=1)
        of_both_sg = np.stack([np.bincount(index_n, each_n) for each_n in of_seed_sn - seed_s[:, None]])
        by_images_s = (of_both_sg**2).sum(axis=1) / len(index_n) ** 2 * num_groups / (num_groups - 1)
        variance += float((seed_s**2 - by_images_s).sum()) / num_free
    spread = np.sqrt(max(0.0, variance) * (1 / num_a + 1 / num_b))
    mean_b = _resampled_means(difference_n, index_n, num_groups, num_resamples, seed)
    return _judged(mean, mean_b + spread * np.random.default_rng(seed + 1).standard_t(num_free, num_resamples))


def sign_flip_p(
    error_pct_a_n: Array, error_pct_b_n: Array, group_n: Names, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> float:
    """Two-sided p of the paired permutation test.

    Were the two methods the same, the difference of each group might as well have had the other sign. All assignments
    of signs are gone through where there are no more than ``num_resamples``, else so many are drawn.

    Raises:
        RcnSearchError: As `paired_difference`.
    """
    difference_n, index_n, num_groups = _grouped(error_pct_a_n - error_pct_b_n, group_n)
    total_g = np.bincount(index_n, difference_n)
    num_all = 2**num_groups
    flips = _all_flips(num_groups) if num_all <= num_resamples else _random_flips(num_groups, num_resamples, seed)
    at_least = abs(total_g.sum()) - 1e-9 * np.abs(total_g).sum()  # the same sum in another order is the same sum
    as_large = 0
    for flip_bg in flips:
        sum_b = total_g.sum() - 2 * (flip_bg @ total_g)
        as_large += int(np.count_nonzero(np.abs(sum_b) >= at_least))
    return as_large / num_all if num_all <= num_resamples else (1 + as_large) / (1 + num_resamples)


def _grouped(difference_n: Array, group_n: Names) -> tuple[Array, NDArray[np.intp], int]:
    """The differences that are there, the group of each by number, and how many groups there are."""
    if difference_n.shape != group_n.shape:
        raise RcnSearchError(f"{difference_n.shape} differences in groups of shape {group_n.shape}")
    kept_n = np.isfinite(difference_n)
    if not kept_n.any():
        raise RcnSearchError("no image has an error under both methods: there is nothing to compare")
    groups, index_n = np.unique(group_n[kept_n], return_inverse=True)
    return difference_n[kept_n], index_n, len(groups)


def _resampled_means(
    difference_n: Array, index_n: NDArray[np.intp], num_groups: int, num_resamples: int, seed: int
) -> Array:
    total_gk = np.stack([np.bincount(index_n, difference_n), np.bincount(index_n)], axis=1)
    means: list[Array] = []
    for count_bg in resampled_counts(num_groups, num_resamples, seed):
        sum_bk = count_bg.astype(np.float64) @ total_gk
        means.append(sum_bk[:, 0] / sum_bk[:, 1])
    return np.concatenate(means)


def _judged(mean: float, mean_b: Array) -> Difference:
    low, high = np.quantile(mean_b, [0.025, 0.975])
    # What was observed counts as one more resample: a p of 0 is nothing that resampling can show.
    rarer = 1 + min(np.count_nonzero(mean_b <= 0), np.count_nonzero(mean_b >= 0))
    return Difference(mean, (float(low), float(high)), min(1.0, 2 * rarer / (1 + len(mean_b))))


def _all_flips(num_groups: int) -> Iterator[Array]:
    number_b = np.arange(2**num_groups)
    yield (number_b[:, None] >> np.arange(num_groups) & 1).astype(np.float64)


def _random_flips(num_groups: int, num_resamples: int, seed: int) -> Iterator[Array]:
    rng, rows = np.random.default_rng(seed), max(1, _BATCH // num_groups)
    for start in range(0, num_resamples, rows):
        shape = min(rows, num_resamples - start), num_groups
        yield rng.integers(0, 2, shape, dtype=np.uint8).astype(np.float64)
