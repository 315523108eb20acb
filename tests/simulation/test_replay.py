from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor

from rcn_search.config.errors import ConfigError
from rcn_search.simulation.replay import START_S, Method, compare_methods, mean_interval, replay, simulate
from rcn_search.simulation.surrogate import MIN_CURVES, Curve, RecordedCurves
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import EpochResult, StudyError
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.study import Study
from tests.conftest import CommandLine

EPOCHS, EPOCH_S = 9, 10.0


def true_error_pct(lr: float, branches: int, epoch: int) -> float:
    """Lowest at a rate of 0.003 and 6 branches; differences show from the first epoch on."""
    return 5 + 3 * abs(np.log10(lr / 3e-3)) + 0.5 * (6 - branches) + 8 / epoch


@pytest.fixture
def space(write_study):
    return load_study_config(
        write_study(
            search={"model.branches": {"int": [2, 6]}, "optimizer.lr": {"float": [1e-4, 1e-1], "log": True}},
            initial_trials=[],
            sampler={"name": "random"},
            scheduler={"name": "none"},
            budget={"trials": 200, "epochs": EPOCHS},
        )
    )


def record(study: Study, num_trials: int, *, epochs: int = EPOCHS, noise: float = 0.0) -> Study:
    luck = np.random.default_rng(0)
    for _ in range(num_trials):
        trial = study.ask()
        params = trial.params
        factor = np.exp(noise * luck.standard_normal())
        for epoch in range(1, epochs + 1):
            error_pct = factor * true_error_pct(params["optimizer.lr"], params["model.branches"], epoch)
            study.report(
                trial.number,
                [
                    EpochResult(
                        epoch=epoch, loss=1, val_error_pct=error_pct, best_error_pct=error_pct, train_s=9, val_s=1
                    )
                ],
            )
        study.finish(trial.number, "complete" if epochs == EPOCHS else "pruned")
    return study


@pytest.fixture
def recorded(space) -> Study:
    return record(Study.start(f"memory://{uuid.uuid4().hex}", space, "f"), 60)


def test_recorded_curves_predict_unseen_curves(recorded: Study) -> None:
    curves = RecordedCurves(recorded)
    for lr, branches in ((4e-3, 5), (2e-4, 2), (5e-2, 6)):
        expected = [true_error_pct(lr, branches, epoch) for epoch in range(1, EPOCHS + 1)]
        curve = curves.predict({"model.branches": branches, "optimizer.lr": lr})
        np.testing.assert_allclose(curve.error_pct_e, expected, rtol=0.05)
        assert curve.epoch_s == pytest.approx(EPOCH_S)
    assert curves.full_training_s == pytest.approx(EPOCHS * EPOCH_S)
    assert curves.explained_variance > 0.95


def test_explained_variance_is_that_of_predictions_with_one_trial_left_out(space: StudyConfig) -> None:
    study = record(Study.start(f"memory://{uuid.uuid4().hex}", space, "f"), 30, noise=0.3)
    curves = RecordedCurves(study)
    params = [trial.params for trial in study.trials]
    last = np.log([trial.epochs[EPOCHS].val_error_pct for trial in study.trials])
    features = np.array([curves._features(each) for each in params])
    predicted = []
    for index in range(len(params)):
        kept = np.arange(len(params)) != index
        process = GaussianProcessRegressor(curves._error_process.kernel_, optimizer=None, normalize_y=False)
        process.fit(features[kept], (last[kept] - last.mean()) / last.std())
        predicted.append(process.predict(features[[index]]).item() * last.std() + last.mean())
    residual = last - np.array(predicted)
    assert curves.explained_variance == pytest.approx(1 - (residual**2).mean() / last.var(), abs=1e-6)
    assert 0 < curves.explained_variance < 0.95


def test_recorded_curves_use_conditional_parameters_and_choices(play_study: Callable[..., Study]) -> None:
    study = play_study(num_trials=90, budget={"trials": 90})
    for trial in study.trials:
        kinds = trial.params
        trial_error = 30 if kinds["model.name"] == "rcn" else 10
        for epoch in list(trial.epochs):
            trial.epochs[epoch] = trial.epochs[epoch].model_copy(update={"val_error_pct": trial_error + epoch})
    curves = RecordedCurves(study)
    for trial in study.trials:
        expected = 34 if trial.params["model.name"] == "rcn" else 14
        assert curves.predict(trial.params).error_pct_e[-1] == pytest.approx(expected, rel=0.1)


def test_recorded_curves_with_too_few_complete_trials_are_refused(space: StudyConfig) -> None:
    study = record(Study.start(f"memory://{uuid.uuid4().hex}", space, "f"), MIN_CURVES, epochs=3)
    with pytest.raises(StudyError, match="has 0 trials that ran to their last epoch"):
        RecordedCurves(study)


def test_simulate_without_pruning_spends_a_full_training_per_trial(recorded: Study) -> None:
    run = simulate(
        recorded.config, RecordedCurves(recorded), Method.from_names("random", "none"), workers=4, budget=12, seed=0
    )
    assert run.num_trials == pytest.approx(12 + 4, abs=1)  # 12 ended, and each worker is in the middle of the next
    assert run.wall_s == pytest.approx(12 / 4 * (EPOCHS * EPOCH_S + START_S), rel=0.1)
    assert run.error_at(12) == run.best_error_pct_e.min()
    assert (np.diff(run.best_error_pct_e) <= 0).all()
    assert np.isnan(run.error_at(0))


class ListedTrials:
    """Two trials, and what is reported of them."""

    def __init__(self) -> None:
        self.left, self.reports, self.ended = [0, 1], [], []

    def ask(self):
        return (self.left.pop(0), {}) if self.left else None

    def report(self, number: int, epoch: int, error_pct: float) -> None:
        self.reports.append((number, epoch, error_pct))

    def finish(self, number: int, *, complete: bool) -> None:
        self.ended.append((number, complete))


def test_replay_reports_the_error_of_each_epoch_and_counts_its_cost() -> None:
    source, pruner = ListedTrials(), SimpleNamespace(report=lambda number, epoch, error_pct: (number, epoch) == (1, 2))
    curve = Curve(error_pct_e=np.array([9.0, 7.0, 8.0]), epoch_s=EPOCH_S)
    curves = SimpleNamespace(predict=lambda params: curve, full_training_s=3 * EPOCH_S)
    run = replay(source, pruner, curves, workers=1, budget=100)
    assert source.reports == [(0, 1, 9.0), (0, 2, 7.0), (0, 3, 8.0), (1, 1, 9.0), (1, 2, 7.0)]
    assert source.ended == [(0, True), (1, False)]
    assert run.best_error_pct_e.tolist() == [9, 7, 7, 7, 7]
    spent_s = np.array([1, 2, 3, 4, 5]) * EPOCH_S + np.array([1, 1, 1, 2, 2]) * START_S
    np.testing.assert_allclose(run.cost_e, spent_s / (3 * EPOCH_S))
    assert (run.num_trials, run.wall_s) == (2, pytest.approx(spent_s[-1]))


def test_simulate_with_the_same_seed_gives_the_same_search(recorded: Study) -> None:
    first, again, other = (
        simulate(
            recorded.config, RecordedCurves(recorded), Method.from_names("tpe", "asha"), workers=8, budget=10, seed=seed
        )
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first.best_error_pct_e, again.best_error_pct_e)
    assert not np.array_equal(first.best_error_pct_e[:20], other.best_error_pct_e[:20])


def test_compare_methods_ranks_pruning_and_tpe_above_random(recorded: Study) -> None:
    methods = [Method.from_names(*names) for names in (("random", "none"), ("random", "asha"), ("tpe", "asha"))]
    done: list[tuple[int, int]] = []
    plain, stopped, learning = compare_methods(
        recorded.config,
        RecordedCurves(recorded),
        methods,
        workers=4,
        budget=24,
        num_seeds=6,
        on_search=lambda *counts: done.append(counts),
    )
    assert [each.name for each in (plain, stopped, learning)] == ["random + none", "random + asha", "tpe + asha"]
    assert stopped.searches[0].num_trials > 1.5 * plain.searches[0].num_trials
    assert stopped.errors_at(24).mean() < plain.errors_at(24).mean()
    assert learning.errors_at(24).mean() <= stopped.errors_at(24).mean()
    assert done[-1] == (18, 18)


def test_mean_interval_contains_the_mean() -> None:
    low, high = mean_interval(np.array([1.0, 2.0, 3.0, 4.0]))
    assert 1 < low < 2.5 < high < 4


def test_simulate_with_a_stop_rule_ends_before_the_budget_is_spent(recorded: Study) -> None:
    curves = RecordedCurves(recorded)
    full, stopped = (
        simulate(recorded.config, curves, Method.from_names("random", "none", rule), workers=2, budget=40, seed=0)
        for rule in ("none", "no_gain=5")
    )
    assert full.cost == pytest.approx(40, abs=1)
    assert stopped.cost < 0.9 * full.cost
    assert np.array_equal(stopped.best_error_pct_e, full.best_error_pct_e[: len(stopped.cost_e)])
    assert stopped.error_at(40) == stopped.best_error_pct_e[-1]


@pytest.mark.parametrize("rule", ["patience=3", "no_gain=0", "no_gain"])
def test_method_with_a_wrong_stop_rule_is_refused(rule: str) -> None:
    with pytest.raises(ConfigError, match="stop"):
        Method.from_names("random", "asha", rule)


def test_method_with_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="sampler"):
        Method.from_names("magic", "asha")


def test_simulate_command_prints_methods_and_explained_variance(cli: CommandLine, recorded: Study) -> None:
    printed = cli.run(
        "simulate", recorded.uri, "--workers", "4", "--budget", "4", "--seeds", "2", "--sampler", "random"
    )
    assert "random + asha" in printed
    assert "2 seeds" in printed
    assert re.search(r"The surrogate explains (9\d|100) %", printed)
    assert "no study at" in cli.fail("simulate", "nowhere")
