"""Grouped bootstrap: draw groups of images with replacement, and compute percentile intervals. NumPy only.

Images of one group (an identity, a photograph) are drawn together, because they are not independent.

Array names end in their axes: n images, g groups, b resamples, c columns of values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Interval = tuple[float, float]

NUM_RESAMPLES = 10_000
_BATCH = 2**18


def resample_groups(num_groups: int, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> Iterator[NDArray[np.int64]]:
    """Draw groups with replacement; yield how often each group is in each resample, in batches (b, g)."""
    rng = np.random.default_rng(seed)
    rows = max(1, _BATCH // num_groups)
    for start in range(0, num_resamples, rows):
        num_rows = min(rows, num_resamples - start)
        drawn_bg = rng.integers(0, num_groups, (num_rows, num_groups), dtype=np.int32)
        index_bg = drawn_bg + num_groups * np.arange(num_rows)[:, None]
        yield np.bincount(index_bg.ravel(), minlength=num_rows * num_groups).reshape(num_rows, num_groups)


def bootstrap_intervals(
    values_nc: Array,
    group_n: NDArray[np.str_],
    *,
    percentiles: Sequence[float] = (),
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> tuple[list[Interval | None], list[Interval | None]]:
    """Compute 95 % intervals of the mean of each column and of percentiles of the first, from one set of resamples.

    A NaN does not count for its column; the first has none. An interval is None where under two groups have values.
    """
    groups, index_n = np.unique(group_n, return_inverse=True)
    num_groups, num_columns = len(groups), values_nc.shape[1]
    counted_nc = np.isfinite(values_nc)
    sum_gc, count_gc = np.zeros((num_groups, num_columns)), np.zeros((num_groups, num_columns))
    np.add.at(sum_gc, index_n, np.where(counted_nc, values_nc, 0.0))
    np.add.at(count_gc, index_n, counted_nc)
    if num_groups < 2:
        return [None] * num_columns, [None] * len(percentiles)
    total_gc = np.concatenate([sum_gc, count_gc], axis=1)
    order_n = np.argsort(values_nc[:, 0], kind="stable")
    means, quantiles = list[Array](), list[Array]()
    for count_bg in resample_groups(num_groups, num_resamples, seed):
        total_bc = count_bg.astype(np.float64) @ total_gc
        with np.errstate(invalid="ignore"):  # a resample without any value of a column has no mean of it
            means.append(total_bc[:, :num_columns] / total_bc[:, num_columns:])
        if percentiles:
            weight_bn = count_bg[:, index_n[order_n]]
            quantiles.append(_weighted_percentiles(values_nc[order_n, 0], weight_bn, percentiles))
    enough_c = (count_gc > 0).sum(axis=0) > 1
    mean_bc = np.concatenate(means)
    return (
        [_interval(mean_bc[:, c]) if enough_c[c] else None for c in range(num_columns)],
        [_interval(column) for column in np.concatenate(quantiles).T] if percentiles else [],
    )


def _interval(value_b: Array) -> Interval:
    low, high = np.quantile(value_b[np.isfinite(value_b)], [0.025, 0.975])
    return float(low), float(high)


def _weighted_percentiles(sorted_n: Array, weight_bn: NDArray[np.int64], percentiles: Sequence[float]) -> Array:
    """Compute percentiles (b, p) as `numpy.percentile`, of lists in which value n occurs ``weight_bn[b, n]`` times."""
    num_lists, num_values = weight_bn.shape
    # All lists in a row: the number of items up to each value of each list.
    upto = np.cumsum(weight_bn.ravel())
    length_b1 = weight_bn.sum(axis=1, keepdims=True)
    first_b1 = np.cumsum(length_b1)[:, None] - length_b1
    position_bp = (length_b1 - 1) * (np.asarray(percentiles) / 100)
    below_bp = np.floor(position_bp).astype(np.int64)
    above_bp = np.minimum(below_bp + 1, length_b1 - 1)
    first_value_b1 = num_values * np.arange(num_lists)[:, None]
    lower_bp, upper_bp = (
        sorted_n[np.searchsorted(upto, first_b1 + item_bp, side="right") - first_value_b1]
        for item_bp in (below_bp, above_bp)
    )
    return np.asarray(lower_bp + (upper_bp - lower_bp) * (position_bp - below_bp))
