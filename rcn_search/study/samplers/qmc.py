"""Quasi-random sampling: a scrambled Sobol sequence."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from rcn_search.study.space.parameter import Scalar
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.space.unit_interval import from_unit


class QmcSampler(RandomSampler):
    """A scrambled Sobol sequence with a dimension for every parameter, conditional ones included.

    Trial ``number`` gets the point of that index, not counting the initial trials. Optuna's own sampler draws
    conditional parameters at random, and counts its draws in the study's storage.
    """

    def __init__(self, config: StudyConfig, number: int) -> None:
        super().__init__()
        self._config, self._index = config, max(0, number - len(config.initial_trials))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Scalar:
        """Return the value at the parameter's coordinate of the point."""
        coordinate = self._point_d[self._config.parameter_names.index(param_name)]
        return from_unit(param_distribution, float(coordinate))

    @cached_property
    def _point_d(self) -> NDArray[np.float64]:
        from scipy.stats.qmc import Sobol  # takes 0.25 s to import, and only this sampler needs it

        sequence = Sobol(len(self._config.parameter_names), scramble=True, rng=self._config.study.seed)
        if self._index:
            sequence.fast_forward(self._index)
        point_d: NDArray[np.float64] = sequence.random(1)[0]
        return point_d
