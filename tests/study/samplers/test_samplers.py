"""What holds for every sampler: it draws what is legal, first the points, and from the history alone."""

from __future__ import annotations

import itertools
import math
import warnings

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from rcn_search.config.errors import ConfigError
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import EpochResult
from rcn_search.study.samplers import build_sampler
from rcn_search.study.samplers.grid import grid
from rcn_search.study.space.unit_interval import from_unit, to_unit
from rcn_search.study.study import Study
from tests.support.studies import resume_study

SAMPLERS = {
    "tpe": {"num_startup_trials": 5},
    "random": {},
    "qmc": {},
    "cmaes": {"population_size": 4},
    "gp": {"num_startup_trials": 8},
    "nsga2": {"population_size": 4},
    "grid": {},
}
NUM_TRIALS = 18


@pytest.fixture
def load(write_study):
    """The conditional space of the fixture, with a depending range, for a sampler."""

    def load_for(name: str, **changes):
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
def point(document):
    document["initial_trials"][0] |= {"schedule.warmup_fraction": 0.1}


def error_pct(config) -> float:
    """Lowest for wide networks at a learning rate of 5e-3."""
    return (
        5.0
        + 2 * math.log10(config.optimizer.lr / 5e-3) ** 2
        + (6 - config.model.branches)
        + config.schedule.warmup_fraction
    )


def run(study: Study, num_trials: int = NUM_TRIALS) -> None:
    """End so many trials: every seventh fails, every third of the others is stopped early."""
    for _ in range(num_trials):
        if (trial := study.ask()) is None:
            return
        number = trial.number
        state = "failed" if number % 7 == 3 else "pruned" if number % 3 == 2 else "complete"
        epochs = [
            EpochResult(epoch=epoch, loss=1.0, val_error_pct=value, best_error_pct=value, train_s=1.0, val_s=1.0)
            for epoch in range(1, 5 if state == "complete" else 3)
            for value in [error_pct(trial.record.config) + 1 / epoch]
        ]
        study.report(number, epochs)
        study.finish(number, state, reason="out of memory" if state == "failed" else None)


def drawn(study: Study) -> list[dict]:
    return [trial.record.params for trial in study.trials]


@pytest.fixture(params=SAMPLERS)
def name(request):
    return request.param


def test_a_study_gone_on_with_draws_what_an_undisturbed_one_draws(load, name, tmp_path):
    space = load(name)
    straight = Study.start(str(tmp_path / "straight"), space, data_fingerprint="f")
    run(straight)
    again = Study.start(str(tmp_path / "again"), space, data_fingerprint="f")
    while again.num_remaining:
        run(again, 5)
        again.ask()  # drawn, and then its driver dies
        del again
        again = resume_study(str(tmp_path / "again"), space, data_fingerprint="f")
    assert drawn(again) == drawn(straight)
    assert len(straight.trials) == NUM_TRIALS

    # All of it lies in the space: a point is refused that has a value too many, too few or out of its range.
    for trial in straight.trials:
        values = {key.partition("[")[0]: value for key, value in trial.record.params.items()}
        assert space.fixed(values) == trial.record.params
    assert drawn(straight)[0] == space.fixed(space.points[0])
    assert len({str(params) for params in drawn(straight)}) > NUM_TRIALS // 2


def first_draws(space, number: int) -> list[dict]:
    """Of trials that are all running at once."""
    study = optuna.create_study()
    values = []
    for index in range(number):
        study.sampler = build_sampler(space, index)
        values.append(space.sample(study.ask()))
    return values


def test_draws_depend_on_the_seed(load, name):
    one, same, other = (first_draws(load(name, study={"seed": seed}), 8) for seed in (1, 1, 2))
    assert one == same
    # The first generation of CMA-ES, and all that NSGA-II and the estimators draw at first, is random.
    assert one != other


GP = pytest.param("gp", marks=pytest.mark.slow)  # half a second for each draw


@pytest.mark.parametrize("name", ["tpe", "random", "qmc", GP, "nsga2", "grid"])
def test_several_objectives_and_limits(load, name):
    space = load(name, objectives=["error", "parameters"], constraints={"parameters": 10})
    study = optuna.create_study(directions=["minimize"] * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(NUM_TRIALS):
            study.sampler = build_sampler(space, number)
            trial = study.ask()
            config = space.config(space.sample(trial))
            trial.set_constraint("parameters", config.model.branches - 5)
            if number % 5 == 4:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, [error_pct(config), config.model.branches])
    assert study.best_trials


@pytest.mark.parametrize("name", ["tpe", "cmaes", GP, "nsga2"])
def test_a_sampler_that_learns_ends_nearer_to_the_optimum_than_it_began(load, name):
    space = load(name)
    study = optuna.create_study()
    errors = []
    for number in range(40):
        study.sampler = build_sampler(space, number)
        trial = study.ask()
        errors.append(error_pct(space.config(space.sample(trial))))
        study.tell(trial, errors[-1])
    assert sum(errors[-12:]) < sum(errors[:12]) - 6


def test_the_grid_has_every_setting_once(load):
    space = load("grid", search={"schedule.warmup_fraction": {"choice": [0.1]}})
    settings = [*grid(space), *(space.fixed(point) for point in space.points)]
    assert len({str(sorted(setting.items())) for setting in settings}) == len(settings)
    # RCN with 2 and 3 branches has four widths, with 4 and 5 two times skip, with 6 two; SumNet all but skip.
    architectures = (4 + 4 + 4 + 4 + 2) + (4 + 4 + 2 + 2 + 2)
    assert len(settings) == architectures * 2 * (1 + 5)


def test_a_sobol_sequence_leaves_no_holes(load):
    values = first_draws(load("qmc"), 65)[1:]
    assert sorted({each["model.branches"] for each in values}) == [2, 3, 4, 5, 6]
    rates = sorted(math.log10(each["optimizer.lr"]) for each in values)
    assert max(high - low for low, high in itertools.pairwise(rates)) < 2 / 64
    assert sum(each["model.name"] == "rcn" for each in values) in (31, 32, 33)


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
def test_unit_interval(kind):
    for index in range(101):
        value = from_unit(kind, index / 100)
        assert kind._contains(kind.to_internal_repr(value))
        assert from_unit(kind, to_unit(kind, value)) == pytest.approx(value)
    assert from_unit(kind, 0.0) == pytest.approx(kind.low)
    assert from_unit(kind, 1.0) == pytest.approx(kind.high)


def test_cmaes_counts_a_trial_that_was_stopped_after_one_that_was_not():
    from rcn_search.study.samplers.cmaes import _rank

    def trial(state, value, constraint=0.0, step=1):
        return create_trial(
            state=state,
            value=value,
            intermediate_values={step: value},
            constraints={"parameters": constraint},
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
            "schedule.warmup_fraction has no end of values",
        ),
        ("grid", {"budget": {"trials": 10_000}}, "settings; budget.trials can be no more"),
        ("cmaes", {"objectives": ["error", "parameters"]}, "tpe, gp and nsga2 take several"),
        (
            "cmaes",
            {
                "search": {
                    "optimizer.lr": {"choice": [4e-3]},
                    "schedule.warmup_fraction": {"choice": [0.1]},
                }
            },
            "at least two of them; here is 1",
        ),
    ],
)
def test_a_sampler_that_cannot_draw_from_a_space_is_refused(load, name, changes, message):
    with pytest.raises(ConfigError, match=r"line \d+: sampler") as raised:
        load(name, **changes)
    assert message in str(raised.value)
