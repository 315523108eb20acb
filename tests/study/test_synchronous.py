"""A repeatable study is the same whichever trial is faster and whatever dies: only the workers are simulated."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

from rcn_search.config.errors import ConfigError
from rcn_search.study import objectives
from rcn_search.study.loading import load_study_config
from rcn_search.study.pruning import build_pruner
from rcn_search.study.records import EpochResult
from rcn_search.study.space.options import Asha
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.study import Study
from rcn_search.study.synchronous import OrderedPruner, SynchronousStudy
from rcn_search.study.trial import Trial
from tests.support.studies import resume_study

NUM_EPOCHS = 4


def error_pct(trial: Trial, epoch: int) -> float:
    """Validation error of a trial that is not trained; curves cross."""
    lr = float(trial.params["optimizer.lr"])
    crossing = 5 * math.sin(1e5 * lr * epoch)
    return 20 + 1000 * abs(lr - 4e-3) / epoch + crossing


def fails_at(trial: Trial) -> int:
    """The epoch in which its loss becomes NaN: 3 for one trial in five, beyond the last for the others."""
    lr = float(trial.params["optimizer.lr"])
    return 3 if int(1e6 * lr) % 5 == 0 else NUM_EPOCHS + 1


class World:
    """Workers of random speed, and a search process that dies at random moments and loses all its memory."""

    def __init__(self, uri: str, config: StudyConfig, *, seed: int, workers: int, deaths: float) -> None:
        self.uri, self.config, self.workers = uri, config, workers
        self.chance, self.deaths = random.Random(seed), deaths
        self.trained: dict[int, int] = {}  # epochs in checkpoints
        self.num_deaths = 0

    def run(self) -> Study:
        Study.start(self.uri, self.config, "f")
        while True:
            study = resume_study(self.uri, self.config, "f")
            if not study.num_remaining:
                return study
            self._drive(SynchronousStudy(study))

    def _drive(self, source: Any) -> None:
        running: dict[int, tuple[Trial, bool]] = {}
        while True:
            while len(running) < self.workers and (trial := source.ask()):
                running[trial.number] = trial, True
            if not running:
                assert source.num_remaining == 0, "trials remain, but none runs"
                return
            if self.chance.random() < self.deaths:
                self.num_deaths += 1
                return
            number = self.chance.choice(list(running))
            trial, fresh = running[number]
            if self._step(source, trial, fresh=fresh):
                del running[number]
            else:
                running[number] = trial, False

    def _step(self, source: Any, trial: Trial, *, fresh: bool) -> bool:
        """An epoch of a trial, in the order in which Ray Tune calls scheduler and callbacks; whether it has ended."""
        number = trial.number
        done = self.trained.get(number, 0)
        earlier = range(1, done + 1) if fresh else ()
        if done < NUM_EPOCHS:
            done += 1
        failed = done >= fails_at(trial)
        if not failed:
            self.trained[number] = done
        reported = [each for each in {*earlier, done} if each < fails_at(trial)]
        epochs = [
            EpochResult(epoch=each, loss=1, val_error_pct=error_pct(trial, each), best_error_pct=1, train_s=1, val_s=1)
            for each in sorted(reported)
        ]
        stop = False
        for epoch in epochs:
            stop = source.pruner.report(number, epoch.epoch, epoch.val_error_pct)
        source.report(number, epochs, metrics={"parameters": 5.0})
        if failed:
            source.finish(number, "failed", reason="NaN")
        elif done == NUM_EPOCHS:
            source.finish(number, "complete")
        elif stop:
            source.finish(number, "pruned")
        return failed or done == NUM_EPOCHS or stop


def table(study: Study) -> list[Any]:
    return [
        (
            trial.params,
            trial.state,
            trial.result.reason,
            [(epoch.epoch, epoch.val_error_pct) for epoch in trial.result.epochs],
            trial.metrics,
        )
        for trial in study.trials
    ]


@pytest.fixture
def make_config(write_study: Callable[..., str]) -> Callable[..., StudyConfig]:
    def make_config(**changes: Any) -> StudyConfig:
        study = {"name": "tiny", "seed": 1, "trial_batch_size": 3}
        return load_study_config(
            write_study(**{"study": study, "budget": {"trials": 26, "epochs": NUM_EPOCHS}, **changes})
        )

    return make_config


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median", "none"])
@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "qmc"])
def test_trials_do_not_depend_on_speed_or_deaths(
    make_config: Callable[..., StudyConfig], scheduler: str, sampler: str
) -> None:
    config = make_config(scheduler={"name": scheduler}, sampler={"name": sampler})
    undisturbed = World(f"memory://{scheduler}-{sampler}", config, seed=0, workers=3, deaths=0).run()
    expected = table(undisturbed)
    states = {state for _, state, *_ in expected}
    assert states == ({"complete", "failed"} if scheduler == "none" else {"complete", "failed", "pruned"})
    num_deaths = 0
    for seed in range(1, 4):
        world = World(f"memory://{scheduler}-{sampler}-{seed}", config, seed=seed, workers=1 + seed, deaths=0.1)
        assert table(world.run()) == expected
        num_deaths += world.num_deaths
    assert num_deaths > 5


def test_trials_depend_on_speed_without_batches(make_config: Callable[..., StudyConfig]) -> None:
    """Check that order matters in the simulated world; otherwise the test above would show nothing."""
    config = make_config(scheduler={"name": "asha"})
    tables = []
    for seed in range(2):
        world = World(f"memory://unordered-{seed}", config, seed=seed, workers=3, deaths=0)
        Study.start(world.uri, config, "f")
        study = Study(world.uri, config)
        study.pruner = build_pruner(config.scheduler, NUM_EPOCHS)
        world._drive(study)
        tables.append(table(Study.open(world.uri)))
    assert tables[0] != tables[1]


def test_infeasible_proposals_do_not_count_in_a_batch(
    make_config: Callable[..., StudyConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectives, "num_points", lambda data_uri: 5)
    config = make_config(constraints={"parameters": 150_000})
    expected = table(World("memory://limits", config, seed=0, workers=3, deaths=0).run())
    assert sum(not epochs for *_, epochs, _ in expected) > 3, "some are pruned before they start"
    for seed in range(1, 4):
        world = World(f"memory://limits-{seed}", config, seed=seed, workers=2, deaths=0.15)
        assert table(world.run()) == expected


def test_extended_study_completes_its_last_batch(make_config: Callable[..., StudyConfig]) -> None:
    longer = make_config(budget={"trials": 20, "epochs": NUM_EPOCHS})
    tables = []
    for seed in range(3):
        config = make_config(budget={"trials": 7, "epochs": NUM_EPOCHS})
        world = World(f"memory://extended-{seed}", config, seed=seed, workers=2, deaths=0.1 * seed)
        world.run()
        world.config = longer
        study = resume_study(world.uri, longer, "f")
        while study.num_remaining:
            world._drive(SynchronousStudy(study))
            study = resume_study(world.uri, longer, "f")
        tables.append(table(study))
    assert tables[0] == tables[1] == tables[2]
    assert len(tables[0]) == 20


def test_ordered_pruner_passes_epochs_in_one_order() -> None:
    curves = {0: (30, 20, 10), 1: (10, 30, 40), 2: (20, 10, 30)}
    events = [(trial, epoch) for epoch in (1, 2, 3) for trial in curves]
    seen: list[list[tuple[int, int]]] = []

    class Spy:
        def __init__(self) -> None:
            self.pruner = build_pruner(Asha(reduction_factor=2), 3)
            self.reported: list[tuple[int, int]] = []

        def report(self, trial: int, epoch: int, error_pct: float) -> bool:
            self.reported.append((trial, epoch))
            return self.pruner.report(trial, epoch, error_pct)

    for order in permutations(curves):
        spy = Spy()
        pruner = OrderedPruner(spy, 3)
        pruner.start_batch([0, 1, 2])
        for trial in order:  # each runs to its end before the next one starts
            for epoch in (1, 2, 3):
                pruner.report(trial, epoch, float(curves[trial][epoch - 1]))
        assert all(pruner.is_decided(trial) for trial in curves)
        seen.append(spy.reported)
    assert all(reported == seen[0] for reported in seen)
    assert seen[0] == [event for event in events if event in seen[0]]
    assert len(seen[0]) < len(events), "something was pruned"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"objectives": ["error", "train_time"]}, "train_time differs from run to run"),
        ({"constraints": {"latency_ms": 5}}, "latency differs from run to run"),
        ({"scheduler": {"name": "pbt"}}, "the checkpoint that the parent happens to have"),
    ],
)
def test_trial_batch_size_with_timed_options_is_refused(
    write_study: Callable[..., str], changes: dict[str, Any], reason: str
) -> None:
    study = {"name": "tiny", "trial_batch_size": 3}
    with pytest.raises(ConfigError, match=reason):
        load_study_config(write_study(**{"study": study, **changes}))


def test_stop_at_the_last_epoch_is_complete() -> None:
    class StopsAll:
        def report(self, trial: int, epoch: int, error_pct: float) -> bool:
            return epoch == 2

    for num_epochs, is_pruned in [(2, False), (3, True)]:
        pruner = OrderedPruner(StopsAll(), num_epochs)
        pruner.start_batch([0])
        for epoch in range(1, num_epochs + 1):
            pruner.report(0, epoch, 5.0)
        assert pruner.is_decided(0)
        assert (pruner.is_pruned(0), pruner.num_decided_epochs(0)) == (is_pruned, 2)
