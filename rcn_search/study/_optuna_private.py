"""Every use of private parts of Optuna and of the package cmaes; `tests/study/test_optuna_private.py` checks each.

The dependencies in pyproject.toml are bounded above, because any release may change these parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import NSGAIISampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial

if TYPE_CHECKING:
    import cmaes


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a distribution can yield a value; Optuna's public interface has no such question."""
    return distribution._contains(distribution.to_internal_repr(value))


def stored_trials(storage: InMemoryStorage, study_id: int) -> list[FrozenTrial]:
    """Trials of a study by number, without copying the list; `get_all_trials` copies and filters all of them."""
    return storage._studies[study_id].trials


def select_elite(sampler: NSGAIISampler, study: optuna.Study, population: list[FrozenTrial]) -> list[FrozenTrial]:
    """Select the parents of the next generation by NSGA-II's non-dominated sorting and crowding distance."""
    return sampler._elite_population_selection_strategy(study, population)


def reseed(optimizer: cmaes.CMA, seed: int) -> None:
    """Replace the random numbers of the next draw, and nothing else of the optimizer's state."""
    optimizer._rng = np.random.RandomState(seed)
