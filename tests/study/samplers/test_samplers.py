"""Every sampler proposes legal settings, initial trials first, and depends on the history alone."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy.stats.qmc import Sobol

from rcn_search.config.errors import ConfigError
from rcn_search.config.network_target import ALLOW_VARIABLE
from rcn_search.config.schema import TrainConfig
from rcn_search.study._optuna_private import contains
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import EpochResult
from rcn_search.study.samplers import build_sampler
from rcn_search.study.samplers.cmaes import _rank
from rcn_search.study.samplers.grid import grid
from rcn_search.study.space.parameter import Values
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.space.unit_interval import from_unit, to_unit
from rcn_search.study.study import Study
from tests.support.studies import Document, resume_study

SAMPLERS = {
    "tpe": {"num_startup_trials": 5},
    "random": {},
    "qmc": {},
    "cmaes": {"population_size": 4},
    "gp": {"num_startup_trials": 8},
    "nsga2": {"population_size": 4},
    "grid": {},
    "optuna": {"target": "optuna.samplers:TPESampler", "options": {"n_startup_trials": 5}},
}
NUM_TRIALS = 18


@pytest.fixture
def load(write_study: Callable[..., str]) -> Callable[..., StudyConfig]:
    """Load the search space of `document`, with a dependent bound, for a sampler."""

    def load_for(name: str, **changes: Any) -> StudyConfig:
        search = {
            "schedule.warmup_fraction": {"float": [0.0, 0.4], "step": 0.1},
            "augment.occluder.min_px": {"int": [0, {"key": "augment.occluder.max_px", "offset": -10}], "step": 10},
            "augment.occluder.max_px": {"choice": [10, 50]},
            **changes.pop("search", {}),
        }
        if name == "grid":
            search["optimizer.lr"] = {"choice": [4e-3, 8e-3]}
        changes = {"budget": {"trials": NUM_TRIALS}, "scheduler": {"name": "none"}, **changes}
        return load_study_config(write_study(sampler={"name": name, **SAMPLERS[name]}, search=search, **changes))

    return load_for


@pytest.fixture(autouse=True)
def allow_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW_VARIABLE, "optuna.samplers")


@pytest.fixture(autouse=True)
def add_to_initial_trial(document: Document) -> None:
    document["initial_trials"][0] |= {"schedule.warmup_fraction": 0.1}


def error_pct(config: TrainConfig) -> float:
    """An error that is lowest for deep networks at a learning rate of 5e-3."""
    return (
        5.0
        + 2 * math.log10(config.optimizer.lr / 5e-3) ** 2
        + (6 - config.model.branches)
        + config.schedule.warmup_fraction
    )


def run(study: Study, num_trials: int = NUM_TRIALS) -> None:
    """Run trials: every seventh fails, every third of the others is pruned."""
    for _ in range(num_trials):
        if (trial := study.ask()) is None:
            return
        number = trial.number
        state = "failed" if number % 7 == 3 else "pruned" if number % 3 == 2 else "complete"
        epochs = [
            EpochResult(epoch=epoch, loss=1.0, val_error_pct=value, best_error_pct=value, train_s=1.0, val_s=1.0)
            for epoch in range(1, 5 if state == "complete" else 3)
            for value in [error_pct(trial.config) + 1 / epoch]
        ]
        study.report(number, epochs)
        study.finish(number, state, reason="out of memory" if state == "failed" else None)


def params_of(study: Study) -> list[Values]:
    return [trial.params for trial in study.trials]


@pytest.fixture(params=SAMPLERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_interrupted_study_proposes_the_same_trials(
    load: Callable[..., StudyConfig], name: str, tmp_path: Path
) -> None:
    config = load(name)
    straight = Study.start(str(tmp_path / "straight"), config, "f")
    run(straight)
    again = Study.start(str(tmp_path / "again"), config, "f")
    while again.num_remaining:
        run(again, 5)
        again.ask()  # proposed, then the search process dies
        del again
        again = resume_study(str(tmp_path / "again"), config, "f")
    assert params_of(again) == params_of(straight)
    assert len(straight.trials) == NUM_TRIALS

    # All are in the search space: an initial trial with a value too many, too few or out of its range is refused.
    for trial in straight.trials:
        values = {key.partition("[")[0]: value for key, value in trial.params.items()}
        assert config.initial_params(values) == trial.params
    assert params_of(straight)[0] == config.initial_params(config.initial_trials[0])
    assert len({str(params) for params in params_of(straight)}) > NUM_TRIALS // 2


def first_settings(config: StudyConfig, num_settings: int) -> list[Values]:
    """Settings of trials that all run at once."""
    study = optuna.create_study()
    values = []
    for index in range(num_settings):
        study.sampler = build_sampler(config, index)
        values.append(config.sample(study.ask()))
    return values


def test_proposals_depend_on_the_seed(load: Callable[..., StudyConfig], name: str) -> None:
    one, same, other = (first_settings(load(name, study={"seed": seed}), 8) for seed in (1, 1, 2))
    assert one == same
    # The first generation of CMA-ES is random, and so are the first proposals of NSGA-II and the estimators.
    assert one != other


GP = pytest.param("gp", marks=pytest.mark.slow)  # half a second for each proposal


@pytest.mark.parametrize("name", ["tpe", "random", "qmc", GP, "nsga2", "grid", "optuna"])
def test_sampler_takes_several_objectives_and_constraints(load: Callable[..., StudyConfig], name: str) -> None:
    config = load(name, objectives=["error", "parameters"], constraints={"parameters": 10})
    study = optuna.create_study(directions=["minimize"] * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(NUM_TRIALS):
            study.sampler = build_sampler(config, number)
            trial = study.ask()
            train_config = config.train_config(config.sample(trial))
            trial.set_constraint("parameters", train_config.model.branches - 5)
            if number % 5 == 4:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, [error_pct(train_config), train_config.model.branches])
    assert study.best_trials


@pytest.mark.parametrize("name", ["tpe", "cmaes", GP, "nsga2", "optuna"])
def test_sampler_that_learns_gets_nearer_to_the_optimum(load: Callable[..., StudyConfig], name: str) -> None:
    config = load(name)
    study = optuna.create_study()
    errors = []
    for number in range(40):
        study.sampler = build_sampler(config, number)
        trial = study.ask()
        errors.append(error_pct(config.train_config(config.sample(trial))))
        study.tell(trial, errors[-1])
    assert sum(errors[-12:]) < sum(errors[:12]) - 6


def test_grid_has_every_setting_once(load: Callable[..., StudyConfig]) -> None:
    config = load("grid", search={"schedule.warmup_fraction": {"choice": [0.1]}})
    settings = [*grid(config), *(config.initial_params(values) for values in config.initial_trials)]
    assert len({str(sorted(setting.items())) for setting in settings}) == len(settings)
    # RCN with 2 and 3 branches has four widths, with 4 and 5 two times skip, with 6 two; SumNet all but skip.
    architectures = (4 + 4 + 4 + 4 + 2) + (4 + 4 + 2 + 2 + 2)
    assert len(settings) == architectures * 2 * (1 + 5)


def test_sobol_sequence_covers_every_range_evenly(load: Callable[..., StudyConfig]) -> None:
    values = first_settings(load("qmc"), 65)[1:]
    assert sorted({each["model.branches"] for each in values}) == [2, 3, 4, 5, 6]
    rates = sorted(math.log10(each["optimizer.lr"]) for each in values)
    assert max(high - low for low, high in itertools.pairwise(rates)) < 2 / 64
    assert sum(each["model.name"] == "rcn" for each in values) in (31, 32, 33)


def test_sobol_sequence_begins_at_its_first_point_after_the_initial_trials(load: Callable[..., StudyConfig]) -> None:
    config = load("qmc")
    point_nd = Sobol(len(config.parameter_names), scramble=True, rng=config.study.seed).random(2)
    rates = FloatDistribution(1e-3, 1e-2, log=True)
    expected = [from_unit(rates, float(point_d[config.parameter_names.index("optimizer.lr")])) for point_d in point_nd]
    _, *proposals = first_settings(config, 3)
    assert [values["optimizer.lr"] for values in proposals] == pytest.approx(expected)


@pytest.mark.parametrize(
    "kind",
    [
        IntDistribution(2, 6),
        IntDistribution(10, 40, step=10),
        IntDistribution(1, 100, log=True),
        FloatDistribution(0.0, 0.2, step=0.025),
        FloatDistribution(0.1, 0.3, step=0.1),
        FloatDistribution(1e-6, 1e-2, log=True),
    ],
    ids=str,
)
def test_from_unit_inverts_to_unit(kind: FloatDistribution | IntDistribution) -> None:
    for index in range(101):
        value = from_unit(kind, index / 100)
        assert contains(kind, value)
        assert from_unit(kind, to_unit(kind, value)) == pytest.approx(value)
    assert from_unit(kind, 0.0) == pytest.approx(kind.low)
    assert from_unit(kind, 1.0) == pytest.approx(kind.high)


def test_cmaes_ranks_pruned_trials_below_complete_ones() -> None:
    def trial(state: TrialState, value: float, constraint: float = 0.0, step: int = 1) -> FrozenTrial:
        return create_trial(
            state=state, value=value, intermediate_values={step: value}, constraints={"parameters": constraint}
        )

    order = [
        trial(TrialState.COMPLETE, 6.0),
        trial(TrialState.COMPLETE, 8.0),
        trial(TrialState.PRUNED, 7.0, step=3),
        trial(TrialState.PRUNED, 5.0, step=1),
        trial(TrialState.COMPLETE, 1.0, constraint=2.0),
    ]
    shuffled = [order[index] for index in (3, 4, 1, 0, 2)]
    assert sorted(shuffled, key=_rank) == order


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "grid",
            {"search": {"schedule.warmup_fraction": {"float": [0.0, 0.4]}}},
            "schedule.warmup_fraction has infinitely many values",
        ),
        ("grid", {"budget": {"trials": 10_000}}, "settings; budget.trials cannot be more"),
        ("cmaes", {"objectives": ["error", "parameters"]}, "tpe, gp and nsga2 take several"),
        (
            "cmaes",
            {"search": {"optimizer.lr": {"choice": [4e-3]}, "schedule.warmup_fraction": {"choice": [0.1]}}},
            "and the study has 1",
        ),
    ],
)
def test_sampler_that_does_not_suit_the_space_is_refused(
    load: Callable[..., StudyConfig], name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=r"line \d+: sampler") as raised:
        load(name, **changes)
    assert message in str(raised.value)
