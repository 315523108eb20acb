"""Mapping between the values of a range and the unit interval."""

from __future__ import annotations

import math

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from rcn_search.study.space.parameter import Scalar


def from_unit(distribution: BaseDistribution, unit: float) -> Scalar:
    """Return the value at ``unit`` in [0, 1]; equal parts of the interval map to equal parts of the (log) range."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(int(unit * len(distribution.choices)), len(distribution.choices) - 1)]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = _ends(distribution)
    value = math.exp(low + (high - low) * unit) if distribution.log else low + (high - low) * unit
    if isinstance(distribution, IntDistribution):
        return distribution.low + distribution.step * _nearest_step(distribution, value)
    if distribution.step is not None:
        value = distribution.low + distribution.step * _nearest_step(distribution, value)
    return min(max(value, distribution.low), distribution.high)


def to_unit(distribution: BaseDistribution, value: float) -> float:
    """Return the middle of the part of the unit interval that `from_unit` maps to ``value``, which is a number."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = _ends(distribution)
    return ((math.log(value) if distribution.log else value) - low) / (high - low)


def _ends(distribution: FloatDistribution | IntDistribution) -> tuple[float, float]:
    """Ends of the (log) range, half a step beyond the outermost values, so that these get a whole part each."""
    half_step = (distribution.step or 0) / 2
    if distribution.log:
        return math.log(distribution.low - half_step), math.log(distribution.high + half_step)
    return distribution.low - half_step, distribution.high + half_step


def _nearest_step(distribution: FloatDistribution | IntDistribution, value: float) -> int:
    assert distribution.step is not None
    num_steps = round((distribution.high - distribution.low) / distribution.step)
    return min(max(math.floor((value - distribution.low) / distribution.step + 0.5), 0), num_steps)
