"""A synchronous study is the same whatever is quicker and whatever dies: workers played, everything else real."""

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
    """As if it had been trained; one setting in five becomes NaN, and curves cross."""
    lr = float(trial.record.params["optimizer.lr"])
    crossing = 5 * math.sin(1e5 * lr * epoch)
    return 20 + 1000 * abs(lr - 4e-3) / epoch + crossing


def fails_at(trial: Trial) -> int:
    """The epoch in which its loss becomes NaN; beyond the last for most."""
    lr = float(trial.record.params["optimizer.lr"])
    return 3 if int(1e6 * lr) % 5 == 0 else NUM_EPOCHS + 1


class World:
    """Workers of random speed, and a driver that dies at random moments: nothing in memory outlives it."""

    def __init__(self, uri: str, space: StudyConfig, *, seed: int, workers: int, deaths: float) -> None:
        self.uri, self.space, self.workers = uri, space, workers
        self.chance, self.deaths = random.Random(seed), deaths
        self.trained: dict[int, int] = {}  # epochs in checkpoints
        self.num_deaths = 0

    def run(self) -> Study:
        Study.start(self.uri, self.space, "drawn")
        while True:
            study = resume_study(self.uri, self.space, data_fingerprint="drawn")
            if not study.num_remaining:
                return study
            self._drive(SynchronousStudy(study))

    def _drive(self, rounds: Any) -> None:
        running: dict[int, tuple[Trial, bool]] = {}
        while True:
            while len(running) < self.workers and (trial := rounds.ask()):
                running[trial.number] = trial, True
            if not running:
                assert rounds.num_left == 0, "nothing runs, and something is left"
                return
            if self.chance.random() < self.deaths:
                self.num_deaths += 1
                return
            number = self.chance.choice(list(running))
            trial, fresh = running[number]
            if self._step(rounds, trial, fresh=fresh):
                del running[number]
            else:
                running[number] = trial, False

    def _step(self, rounds: Any, trial: Trial, *, fresh: bool) -> bool:
        """An epoch of a trial, in the order in which Ray Tune tells scheduler and callbacks; whether it has ended."""
        number = trial.number
        done = self.trained.get(number, 0)
        earlier = range(1, done + 1) if fresh else ()
        if done < NUM_EPOCHS:
            done += 1
        failed = done >= fails_at(trial)
        if not failed:
            self.trained[number] = done
        told = [each for each in {*earlier, done} if each < fails_at(trial)]
        epochs = [
            EpochResult(epoch=each, loss=1, val_error_pct=error_pct(trial, each), best_error_pct=1, train_s=1, val_s=1)
            for each in sorted(told)
        ]
        stop = False
        for epoch in epochs:
            stop = rounds.turns.report(number, epoch.epoch, epoch.val_error_pct)
        rounds.report(number, epochs, measured={"parameters": 5.0})
        if failed:
            rounds.finish(number, "failed", reason="NaN")
        elif done == NUM_EPOCHS:
            rounds.finish(number, "complete")
        elif stop:
            rounds.finish(number, "pruned")
        return failed or done == NUM_EPOCHS or stop


def table(study: Study) -> list[Any]:
    return [
        (
            trial.record.params,
            trial.state,
            trial.result.reason,
            [(epoch.epoch, epoch.val_error_pct) for epoch in trial.result.epochs],
            trial.metrics,
        )
        for trial in study.trials
    ]


@pytest.fixture
def space_of(write_study: Callable[..., str]) -> Callable[..., StudyConfig]:
    def space_of(**changes: Any) -> StudyConfig:
        study = {"name": "tiny", "seed": 1, "trial_batch_size": 3}
        return load_study_config(write_study(**{"study": study, "budget": {"trials": 26, "epochs": NUM_EPOCHS}, **changes}))

    return space_of


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median", "none"])
@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "qmc"])
def test_neither_speed_nor_deaths_change_a_trial(
    space_of: Callable[..., StudyConfig], scheduler: str, sampler: str
) -> None:
    space = space_of(scheduler={"name": scheduler}, sampler={"name": sampler})
    undisturbed = World(f"memory://{scheduler}-{sampler}", space, seed=0, workers=3, deaths=0).run()
    expected = table(undisturbed)
    states = {state for _, state, *_ in expected}
    assert states == ({"complete", "failed"} if scheduler == "none" else {"complete", "failed", "pruned"})
    num_deaths = 0
    for seed in range(1, 4):
        world = World(f"memory://{scheduler}-{sampler}-{seed}", space, seed=seed, workers=1 + seed, deaths=0.1)
        assert table(world.run()) == expected
        num_deaths += world.num_deaths
    assert num_deaths > 5


def test_without_rounds_speed_changes_trials(space_of: Callable[..., StudyConfig]) -> None:
    """The world is one in which order matters, or the test above would show nothing."""

    space = space_of(scheduler={"name": "asha"})
    tables = []
    for seed in range(2):
        world = World(f"memory://unordered-{seed}", space, seed=seed, workers=3, deaths=0)
        Study.start(world.uri, space, "drawn")
        study = Study(world.uri, space)
        study.turns = build_pruner(space.scheduler, NUM_EPOCHS)
        world._drive(study)
        tables.append(table(Study.open(world.uri)))
    assert tables[0] != tables[1]


def test_infeasible_draws_take_no_place_in_a_round(
    space_of: Callable[..., StudyConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectives, "num_points", lambda data_uri: 5)
    space = space_of(constraints={"parameters": 150_000})
    expected = table(World("memory://limits", space, seed=0, workers=3, deaths=0).run())
    assert sum(not epochs for *_, epochs, _ in expected) > 3, "some are pruned before they start"
    for seed in range(1, 4):
        world = World(f"memory://limits-{seed}", space, seed=seed, workers=2, deaths=0.15)
        assert table(world.run()) == expected


def test_a_study_with_a_short_last_round_can_be_extended(space_of: Callable[..., StudyConfig]) -> None:
    longer = space_of(budget={"trials": 20, "epochs": NUM_EPOCHS})
    tables = []
    for seed in range(3):
        space = space_of(budget={"trials": 7, "epochs": NUM_EPOCHS})
        world = World(f"memory://extended-{seed}", space, seed=seed, workers=2, deaths=0.1 * seed)
        world.run()
        world.space = longer
        study = resume_study(world.uri, longer, data_fingerprint="drawn")
        while study.num_remaining:
            world._drive(SynchronousStudy(study))
            study = resume_study(world.uri, longer, data_fingerprint="drawn")
        tables.append(table(study))
    assert tables[0] == tables[1] == tables[2]
    assert len(tables[0]) == 20


def test_the_rule_is_told_in_one_order_only() -> None:
    curves = {0: (30, 20, 10), 1: (10, 30, 40), 2: (20, 10, 30)}
    events = [(trial, epoch) for epoch in (1, 2, 3) for trial in curves]
    seen: list[list[tuple[int, int]]] = []

    class Spy:
        def __init__(self) -> None:
            self.rule = build_pruner(Asha(reduction_factor=2), 3)
            self.told: list[tuple[int, int]] = []

        def report(self, trial: int, epoch: int, error_pct: float) -> bool:
            self.told.append((trial, epoch))
            return self.rule.report(trial, epoch, error_pct)

    for order in permutations(curves):
        spy = Spy()
        turns = OrderedPruner(spy, 3)
        turns.start_batch([0, 1, 2])
        for trial in order:  # each runs to its end before the next begins
            for epoch in (1, 2, 3):
                turns.report(trial, epoch, float(curves[trial][epoch - 1]))
        assert all(turns.is_decided(trial) for trial in curves)
        seen.append(spy.told)
    assert all(told == seen[0] for told in seen)
    assert seen[0] == [event for event in events if event in seen[0]]
    assert len(seen[0]) < len(events), "something was stopped"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"objectives": ["error", "train_time"]}, "train_time is another in each run"),
        ({"constraints": {"latency_ms": 5}}, "latency is another in each run"),
        ({"scheduler": {"name": "pbt"}}, "checkpoint the parent has at that moment"),
    ],
)
def test_what_depends_on_a_clock_is_refused(
    write_study: Callable[..., str], changes: dict[str, Any], reason: str
) -> None:
    study = {"name": "tiny", "trial_batch_size": 3}
    with pytest.raises(ConfigError, match=reason):
        load_study_config(write_study(**{"study": study, **changes}))
