"""NSGA-II without stored state.

Optuna's sampler stores with each trial the generation that it saw when the trial was proposed. Here the generation
follows from the trial's number, so it is the same whether the search process was started once or ten times.
"""

from __future__ import annotations

import optuna
from optuna.samplers import NSGAIISampler
from optuna.trial import FrozenTrial, TrialState

from rcn_search.study._optuna_private import select_elite


class Nsga2Sampler(NSGAIISampler):
    """NSGA-II (Deb et al. 2002, https://doi.org/10.1109/4235.996017) whose generations are counted by trial number."""

    def get_trial_generation(self, study: optuna.Study, trial: FrozenTrial) -> int:
        """Return the generation of a trial, from 0."""
        assert self.population_size is not None
        return trial.number // self.population_size

    def get_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """Return the complete trials up to and including a generation."""
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [trial for trial in complete if self.get_trial_generation(study, trial) <= generation]

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """Return the best complete trials before a generation; none while there are fewer than two: a random draw."""
        if generation == 0:
            return []
        parents = select_elite(self, study, self.get_population(study, generation - 1))
        return parents if len(parents) > 1 else []
