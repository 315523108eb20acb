"""Grid search: every combination of values once, in an order shuffled by the study's seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import lru_cache

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from rcn_search.errors import RcnSearchError
from rcn_search.study.space.parameter import Parameter, Scalar, Values
from rcn_search.study.space.study_config import StudyConfig

MAX_GRID = 100_000
"""Largest number of settings of a grid, all of which are kept in memory."""


class GridSampler(RandomSampler):
    """The settings of the grid, one after another; starts again when there are more trials than settings."""

    def __init__(self, config: StudyConfig, number: int) -> None:
        super().__init__(seed=0)
        settings = grid(config)
        self._setting = settings[max(0, number - len(config.initial_trials)) % len(settings)]

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Scalar:
        """Return the value of the setting; any value of a parameter that only an enqueued trial has."""
        if param_name in self._setting:
            return self._setting[param_name]
        value: Scalar = super().sample_independent(study, trial, param_name, param_distribution)
        return value


def grid(config: StudyConfig) -> tuple[Values, ...]:
    """List all settings of a search space by parameter name, shuffled by the study's seed, without its initial trials.

    RcnSearchError if a parameter has infinitely many values, or there are more than `MAX_GRID` settings.
    """
    return _grid(config.model_dump_json(by_alias=True))


@lru_cache(maxsize=4)
def _grid(document: str) -> tuple[Values, ...]:
    config = StudyConfig.model_validate_json(document)
    initial = [config.initial_params(trial) for trial in config.initial_trials]
    settings: list[Values] = []
    for setting in _enumerate_settings(config):
        if setting not in initial:
            settings.append(setting)
        if len(settings) > MAX_GRID:
            raise RcnSearchError(f"the grid has more than {MAX_GRID:,} settings: use larger steps, or sampler qmc")
    random.Random(config.study.seed).shuffle(settings)
    return tuple(settings)


def _enumerate_settings(config: StudyConfig) -> Iterator[Values]:
    """Count through all settings; with conditions, the number of digits and their bases differ between settings."""
    digits: list[int] = []
    while True:
        setting, bases = _setting_at(config, digits)
        yield setting
        digits += [0] * (len(bases) - len(digits))
        while digits and digits[-1] == bases[len(digits) - 1] - 1:
            digits.pop()
        if not digits:
            return
        digits[-1] += 1


def _setting_at(config: StudyConfig, digits: list[int]) -> tuple[Values, list[int]]:
    """Build the setting whose n-th parameter has its value of index ``digits[n]`` or 0, and count each one's values."""
    setting: Values = {}
    bases: list[int] = []

    def choose(path: str, name: str, parameter: Parameter) -> Scalar:
        values = values_of(name, parameter)
        setting[name] = values[digits[len(bases)] if len(bases) < len(digits) else 0]
        bases.append(len(values))
        return setting[name]

    config.draw(choose)
    return setting, bases


def values_of(name: str, parameter: Parameter) -> tuple[Scalar, ...]:
    """List all values of a parameter; RcnSearchError if it has infinitely many."""
    if parameter.choice is not None:
        return parameter.choice
    distribution = parameter.distribution
    if isinstance(distribution, IntDistribution):
        return tuple(range(distribution.low, distribution.high + 1, distribution.step))
    assert isinstance(distribution, FloatDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    if step is None:
        raise RcnSearchError(f"{name} has infinitely many values: give it a step or a choice, or use sampler qmc")
    return tuple(min(low + step * index, high) for index in range(round((high - low) / step) + 1))
