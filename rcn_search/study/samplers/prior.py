"""The first phase of a study with a prior: random settings within the ranges that were good in other studies."""

from __future__ import annotations

import random

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from rcn_search.study.records import PriorRecord
from rcn_search.study.space.parameter import Scalar
from rcn_search.study.space.unit_interval import from_unit, to_unit

NUM_TRIALS = 9
"""Trials of the first phase, after the initial trials."""
OWN_EVERY = 3
"""Every third of them is the study's own sampler's: a prior may be wrong."""


def is_first_phase(number: int, num_initial: int) -> bool:
    """Whether the prior, and not the study's sampler, proposes a trial."""
    place = number - num_initial
    return 0 <= place < NUM_TRIALS and place % OWN_EVERY != OWN_EVERY - 1


class PriorSampler(RandomSampler):
    """Draws each parameter of the prior uniformly from its narrower range, all others from the whole range."""

    def __init__(self, prior: PriorRecord, seed: int) -> None:
        super().__init__(seed)
        self._prior, self._random = prior, random.Random(seed)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Scalar:
        """Return a value of the narrower range, or of the part of it that is in this one."""
        path, unit = param_name.partition("[")[0], self._random.random()
        if isinstance(param_distribution, CategoricalDistribution):
            wanted = [repr(value) for value in self._prior.choices.get(path, ())]
            kept = [choice for choice in param_distribution.choices if repr(choice) in wanted]
            choices = kept or list(param_distribution.choices)
            return choices[int(unit * len(choices))]
        if path in self._prior.ranges:
            low, high = (unit_of(param_distribution, value) for value in self._prior.ranges[path])
            if low < high:
                unit = low + (high - low) * unit
        return from_unit(param_distribution, unit)


def unit_of(distribution: BaseDistribution, value: float) -> float:
    """Return the place of a number in a range, 0 or 1 beyond its ends."""
    try:
        return min(max(to_unit(distribution, value), 0.0), 1.0)
    except ValueError:  # 0 or less in a log range
        return 0.0
