"""CMA-ES without stored state.

Optuna's sampler pickles its optimizer into the study's storage. Here the optimizer's state is recomputed from the
ended trials at every draw, so it is the same whether the search process was started once or ten times.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from rcn_search.study.space.options import Cmaes
from rcn_search.study.space.unit_interval import from_unit, to_unit


class CmaesSampler(RandomSampler):
    """CMA-ES (Hansen 2016, https://arxiv.org/abs/1604.00772) over the unconditional int and float ranges.

    The ended trials, in the order of their numbers, form its generations, whichever sampler proposed them: the
    algorithm uses ranks only. Within a generation complete trials come first, by value, then pruned ones, longest
    first, then infeasible ones. Failed trials are left out. All other parameters are drawn at random.
    """

    def __init__(self, options: Cmaes, ranges: dict[str, BaseDistribution], *, study_seed: int, seed: int) -> None:
        super().__init__(seed)
        self._options, self._ranges = options, ranges
        self._study_seed, self._seed = study_seed, seed

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the unconditional ranges."""
        return self._ranges

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw a member of the current generation."""
        import cmaes

        from rcn_search.study._optuna_private import reseed

        optimizer = cmaes.CMA(
            mean=np.full(len(search_space), 0.5),
            sigma=self._options.sigma,
            bounds=np.tile([0.0, 1.0], (len(search_space), 1)),
            population_size=self._options.population_size,
            seed=self._study_seed,
        )
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        members = [ended_trial for ended_trial in ended if search_space.keys() <= ended_trial.params.keys()]
        size = optimizer.population_size
        for start in range(0, len(members) - size + 1, size):
            ranked = sorted(members[start : start + size], key=_rank)
            optimizer.tell([(_vector(member, search_space), float(rank)) for rank, member in enumerate(ranked)])
        reseed(optimizer, self._seed)  # the state depends on the history, the draw on this trial
        unit_d = optimizer.ask()
        return {
            name: from_unit(distribution, float(unit))
            for (name, distribution), unit in zip(search_space.items(), unit_d, strict=True)
        }


def _rank(trial: FrozenTrial) -> tuple[float, bool, int, float]:
    """Sort key within a generation: excess over the constraints, pruned, epochs, error."""
    excess = sum(max(0.0, value) for value in trial.constraints.values())
    is_pruned = trial.state == TrialState.PRUNED
    last_epoch = max(trial.intermediate_values, default=0)
    value = trial.intermediate_values.get(last_epoch, np.inf) if is_pruned else trial.value
    assert value is not None
    return excess, is_pruned, -last_epoch if is_pruned else 0, value


def _vector(trial: FrozenTrial, ranges: dict[str, BaseDistribution]) -> NDArray[np.float64]:
    return np.array([to_unit(distribution, trial.params[name]) for name, distribution in ranges.items()])
