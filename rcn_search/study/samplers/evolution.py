"""Samplers that move a population: CMA-ES and NSGA-II, without a memory of their own.

Optuna's keep their state in its storage: a pickled optimiser, or each trial's generation as it was seen when the trial
was drawn. Here the state is worked out from the finished trials at every draw, so that it is the same whether the
driver was started once or ten times.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from rcn_search.study.space.options import Cmaes
from rcn_search.study.space.unit_interval import from_unit, to_unit


class CmaesSampler(BaseSampler):
    """CMA-ES (Hansen 2016, https://arxiv.org/abs/1604.00772) over the int and float ranges that are always drawn.

    The finished trials, by number, are taken for its generations, whoever drew them: the algorithm knows ranks only.
    Within a generation complete trials come first, by value, then those stopped early, the longest first, then those
    beyond a limit of the study. Failed ones are left out. All other parameters are drawn at random.
    """

    def __init__(self, options: Cmaes, ranges: dict[str, BaseDistribution], *, study_seed: int, seed: int) -> None:
        self._options, self._ranges = options, ranges
        self._study_seed, self._seed = study_seed, seed
        self._others = RandomSampler(seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The ranges."""
        return self._ranges

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """One of the present generation."""
        import cmaes

        optimizer = cmaes.CMA(
            mean=np.full(len(search_space), 0.5),
            sigma=self._options.sigma,
            bounds=np.tile([0.0, 1.0], (len(search_space), 1)),
            population_size=self._options.population_size,
            seed=self._study_seed,
        )
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        told = [each for each in ended if search_space.keys() <= each.params.keys()]
        size = optimizer.population_size
        for start in range(0, len(told) - size + 1, size):
            ranked = sorted(told[start : start + size], key=_rank)
            optimizer.tell([(_vector(each, search_space), float(rank)) for rank, each in enumerate(ranked)])
        # The state is that of the history; the draw is that of this trial.
        optimizer._rng = np.random.RandomState(self._seed)
        unit = optimizer.ask()
        return {name: from_unit(kind, float(unit[index])) for index, (name, kind) in enumerate(search_space.items())}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """At random."""
        return self._others.sample_independent(study, trial, param_name, param_distribution)


class Nsga2Sampler(NSGAIISampler):
    """NSGA-II (Deb et al. 2002, https://doi.org/10.1109/4235.996017) whose generations are counted by trial number.

    Parents of a generation are the best of all complete trials before it.
    """

    def get_trial_generation(self, study: optuna.Study, trial: FrozenTrial) -> int:
        """By its number alone."""
        assert self.population_size is not None
        return trial.number // self.population_size

    def get_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """Complete trials up to a generation."""
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [trial for trial in complete if self.get_trial_generation(study, trial) <= generation]

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """Optuna's choice of the best; none while there are not two to mate, so that the draw is random."""
        if generation == 0:
            return []
        parents = self._elite_population_selection_strategy(study, self.get_population(study, generation - 1))
        return parents if len(parents) > 1 else []


def _rank(trial: FrozenTrial) -> tuple[float, bool, int, float]:
    beyond = sum(max(0.0, value) for value in trial.constraints.values())
    stopped = trial.state == TrialState.PRUNED
    last = max(trial.intermediate_values, default=0)
    value = trial.intermediate_values.get(last, np.inf) if stopped else trial.value
    assert value is not None
    return beyond, stopped, -last if stopped else 0, value


def _vector(trial: FrozenTrial, ranges: dict[str, BaseDistribution]) -> np.ndarray[Any, np.dtype[np.float64]]:
    units = []
    for name, kind in ranges.items():
        assert isinstance(kind, IntDistribution | FloatDistribution)
        units.append(to_unit(kind, trial.params[name]))
    return np.array(units)
