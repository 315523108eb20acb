"""A value of a range from a number between 0 and 1, and back."""

from __future__ import annotations

import math

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from rcn_search.study.space.parameter import Scalar


def from_unit(kind: BaseDistribution, unit: float) -> Scalar:
    """The value at ``unit`` in [0, 1]: equal shares of it belong to equal parts of the range, or of its logarithm."""
    if isinstance(kind, CategoricalDistribution):
        choice: Scalar = kind.choices[min(int(unit * len(kind.choices)), len(kind.choices) - 1)]
        return choice
    assert isinstance(kind, FloatDistribution | IntDistribution)
    low, high = _ends(kind)
    value = math.exp(low + (high - low) * unit) if kind.log else low + (high - low) * unit
    if isinstance(kind, IntDistribution):
        return kind.low + kind.step * _nearest(value - kind.low, kind.step, kind.high - kind.low)
    if kind.step is not None:
        value = kind.low + kind.step * _nearest(value - kind.low, kind.step, kind.high - kind.low)
    return min(max(value, kind.low), kind.high)


def to_unit(kind: FloatDistribution | IntDistribution, value: float) -> float:
    """The middle of what `from_unit` makes ``value`` of."""
    low, high = _ends(kind)
    return ((math.log(value) if kind.log else value) - low) / (high - low)


def _ends(kind: FloatDistribution | IntDistribution) -> tuple[float, float]:
    """Of the range, or of its logarithm; half a step beyond the outermost values, so that they get their share."""
    half = (kind.step or 0) / 2
    if kind.log:
        return math.log(kind.low - half), math.log(kind.high + half)
    return kind.low - half, kind.high + half


def _nearest(offset: float, step: float, span: float) -> int:
    return min(max(math.floor(offset / step + 0.5), 0), round(span / step))
