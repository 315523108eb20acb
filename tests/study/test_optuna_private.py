"""The private parts of Optuna and cmaes do what `rcn_search.study._optuna_private` takes them for."""

from __future__ import annotations

import cmaes
import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import NSGAIISampler
from optuna.storages import InMemoryStorage
from optuna.trial import create_trial

from rcn_search.study._optuna_private import contains, reseed, select_elite, stored_trials


@pytest.mark.parametrize(
    ("distribution", "inside", "outside"),
    [
        (IntDistribution(2, 6, step=2), 4, 8),
        (FloatDistribution(1e-3, 1e-1, log=True), 1e-2, 1.0),
        (FloatDistribution(0.0, 1.0, step=0.25), 0.75, 1.25),
    ],
)
def test_contains_tells_values_inside_from_values_outside(
    distribution: BaseDistribution, inside: float, outside: float
) -> None:
    assert contains(distribution, inside)
    assert not contains(distribution, outside)


def test_contains_finds_every_choice() -> None:
    assert all(contains(CategoricalDistribution(("paper", 16)), choice) for choice in ("paper", 16))


def test_stored_trials_are_those_of_the_study_by_number() -> None:
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage)
    for _ in range(3):
        study.tell(study.ask(), 1.0)
    assert [trial.number for trial in stored_trials(storage, study._study_id)] == [0, 1, 2]


def test_select_elite_prefers_the_pareto_front() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"])
    for values in ([1.0, 4.0], [4.0, 1.0], [5.0, 5.0], [2.0, 2.0], [6.0, 6.0]):
        study.add_trial(create_trial(values=values))
    elite = select_elite(NSGAIISampler(population_size=3), study, study.get_trials())
    assert sorted(trial.number for trial in elite) == [0, 1, 3]


def test_reseed_changes_the_next_draw_alone() -> None:
    def draw(state_seed: int, draw_seed: int) -> list[float]:
        optimizer = cmaes.CMA(mean=np.zeros(2), sigma=1.0, population_size=4, seed=state_seed)
        optimizer.tell([(optimizer.ask(), float(rank)) for rank in range(4)])
        reseed(optimizer, draw_seed)
        return list(map(float, optimizer.ask()))

    assert draw(0, 1) == draw(0, 1)
    assert draw(0, 1) != draw(0, 2)
    assert draw(0, 1) != draw(1, 1)
