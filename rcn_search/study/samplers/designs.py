"""Samplers whose trials are known before the first is run: a Sobol sequence, and the grid of all settings.

Both draw trial ``number`` from the space alone. A point that is tried first takes no place of either.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from rcn_search.study.space.parameter import Parameter, Scalar, Values
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.space.unit_interval import from_unit

MAX_GRID = 100_000
"""Settings of a grid; the driver keeps them in memory."""


class _OneByOne(BaseSampler):
    """Each parameter has its value whatever the others are, so that nothing is drawn together."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Nothing."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing."""
        return {}


class QmcSampler(_OneByOne):
    """A scrambled Sobol sequence with a dimension for every parameter, also for those that are not always drawn.

    Optuna's own leaves conditional parameters to chance, and counts its draws in the study's storage.
    """

    def __init__(self, space: StudyConfig, number: int) -> None:
        self._space, self._index = space, max(0, number - len(space.initial_trials))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Scalar:
        """The value at the parameter's coordinate."""
        return from_unit(param_distribution, float(self._point[self._space.parameter_names.index(param_name)]))

    @cached_property
    def _point(self) -> NDArray[np.float64]:
        from scipy.stats.qmc import Sobol  # a quarter of a second that only this sampler needs

        sequence = Sobol(len(self._space.parameter_names), scramble=True, rng=self._space.study.seed)
        if self._index:
            sequence.fast_forward(self._index)
        point: NDArray[np.float64] = sequence.random(1)[0]
        return point


class GridSampler(_OneByOne):
    """The settings of the grid, one after another; from the first again when there are more trials than settings."""

    def __init__(self, space: StudyConfig, number: int) -> None:
        settings = grid(space)
        self._setting = settings[max(0, number - len(space.initial_trials)) % len(settings)]

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Scalar:
        """The value of the setting; of a parameter that it does not have, which another's point may draw, any."""
        if param_name in self._setting:
            return self._setting[param_name]
        value: Scalar = RandomSampler(0).sample_independent(study, trial, param_name, param_distribution)
        return value


def grid(space: StudyConfig) -> tuple[Values, ...]:
    """All settings of a space by the parameters' names, shuffled by the study's seed, but for its points.

    Raises:
        ValueError: A parameter has no end of values, or there are too many settings.
    """
    return _grid(space.model_dump_json(by_alias=True))


@lru_cache(maxsize=4)
def _grid(document: str) -> tuple[Values, ...]:
    space = StudyConfig.model_validate_json(document)
    points = [space.initial_params(point) for point in space.initial_trials]
    settings: list[Values] = []
    for setting in _settings(space):
        if setting not in points:
            settings.append(setting)
        if len(settings) > MAX_GRID:
            raise ValueError(f"the grid has more than {MAX_GRID:,} settings: take larger steps, or sampler qmc")
    random.Random(space.study.seed).shuffle(settings)
    return tuple(settings)


def _settings(space: StudyConfig) -> Iterator[Values]:
    """All of them, like the numbers of a counter; where there are conditions its digits differ in base and number."""
    digits: list[int] = []
    while True:
        setting, bases = _setting_at(space, digits)
        yield setting
        digits += [0] * (len(bases) - len(digits))
        while digits and digits[-1] == bases[len(digits) - 1] - 1:
            digits.pop()
        if not digits:
            return
        digits[-1] += 1


def _setting_at(space: StudyConfig, digits: list[int]) -> tuple[Values, list[int]]:
    """The setting whose parameters have the values of these numbers, the last ones their first; how many each has."""
    setting: Values = {}
    bases: list[int] = []

    def choose(path: str, name: str, parameter: Parameter) -> Scalar:
        values = values_of(name, parameter)
        setting[name] = values[digits[len(bases)] if len(bases) < len(digits) else 0]
        bases.append(len(values))
        return setting[name]

    space.draw(choose)
    return setting, bases


def values_of(name: str, parameter: Parameter) -> tuple[Scalar, ...]:
    """All values of a parameter.

    Raises:
        ValueError: It has no end of them.
    """
    if parameter.choice is not None:
        return parameter.choice
    kind = parameter.distribution
    if isinstance(kind, IntDistribution):
        return tuple(range(kind.low, kind.high + 1, kind.step))
    assert isinstance(kind, FloatDistribution)
    if kind.step is None:
        raise ValueError(f"{name} has no end of values: give it a step or a choice, or take sampler qmc")
    num_steps = round((kind.high - kind.low) / kind.step)
    return tuple(min(kind.low + kind.step * index, kind.high) for index in range(num_steps + 1))
