from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from rcn_search.search.tune_scheduler import build_scheduler
from rcn_search.search.tune_searcher import MAX_FAILED_FIRST, MAX_PROCESS_DEATHS, StudyRecorder, StudySearcher
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import StudyError
from rcn_search.study.study import Study
from rcn_search.study.synchronous import SynchronousStudy
from rcn_search.study_report.summary import SearchSummary, idle_s


@pytest.fixture
def study(write_study, tmp_path):
    space = load_study_config(write_study(budget={"trials": 40, "epochs": 9}))
    return Study.start(str(tmp_path / "study"), space, "f")


NO_METRIC = {"val_error_pct": float("nan"), "done": True}


def entry(epoch: int, error_pct: float) -> dict[str, float]:
    """An epoch as a `TrialActor` reports it."""
    return {
        "epoch": epoch,
        "loss": 1.0,
        "val_error_pct": error_pct,
        "best_error_pct": 1.0,
        "train_s": 2.0,
        "val_s": 1.0,
    }


def result(*epochs: dict[str, float], complete: bool = False) -> dict:
    return {**epochs[-1], "epochs": list(epochs), "complete": complete, "done": complete}


class OneSlot:
    """Tune's side of a search with one slot: what it calls, in its order.

    ``saved`` holds the epochs in each trial's checkpoint, which outlives the search process.
    """

    def __init__(self, study: Study, saved: dict[int, list[dict]] | None = None) -> None:
        self.saved = {} if saved is None else saved
        self.searcher, self.recorder = StudySearcher(study), StudyRecorder(study)
        self.scheduler = build_scheduler(study)

    def start(self) -> SimpleNamespace | None:
        """The next trial; None when there are no more."""
        config = self.searcher.suggest("any")
        if config in ("FINISHED", None):
            return None
        trial = SimpleNamespace(trial_id=f"ray-{random.random()}", config=config, last_result={})
        self.scheduler.on_trial_add(None, trial)
        return trial

    def report(self, trial: SimpleNamespace, last: dict) -> None:
        trial.last_result = last
        if not last["done"]:
            last["done"] = self.scheduler.on_trial_result(None, trial, last) == TrialScheduler.STOP
        self.recorder.on_trial_result(0, [], trial, last)
        if last["done"]:
            self.scheduler.on_trial_complete(None, trial, last)
            self.recorder.on_trial_complete(0, [], trial)

    def run(self, curves: dict[int, list[float]], num_epochs: int) -> None:
        """Train so many epochs of one trial after another, whose errors are ``curves``; stop wherever that is."""
        trial = None
        for _ in range(num_epochs):
            if trial is None or trial.last_result["done"]:
                trial = self.start()
                if trial is None:
                    return
                done = self.saved.setdefault(trial.config["number"], [])
                earlier = list(done)
            done.append(entry(len(done) + 1, curves[trial.config["number"]][len(done)]))
            self.report(trial, result(*earlier, done[-1], complete=len(done) == 9))
            self.recorder.on_step_end(0, [])
            earlier = []


def outcomes(study: Study) -> list[tuple]:
    return [(trial.state, [epoch.val_error_pct for epoch in trial.result.epochs]) for trial in study.trials]


def test_scheduler_asha_decides_the_same_after_restarts(study: Study, tmp_path: Path) -> None:
    draw = random.Random(0)
    curves = {number: sorted((draw.uniform(0, 9) for _ in range(9)), reverse=True) for number in range(40)}
    OneSlot(study).run(curves, 1_000)
    assert 4 < sum(trial.state == "complete" for trial in study.trials) < 20

    again = Study.start(str(tmp_path / "again"), study.config, "f")
    saved: dict[int, list[dict]] = {}
    while again.num_remaining:
        OneSlot(again, saved).run(curves, 7)
        again = Study(again.uri, again.config)
    assert outcomes(again) == outcomes(study)


def test_recorder_trial_without_a_metric_fails_with_its_reason(study: Study) -> None:
    tune = OneSlot(study)
    tune.report(tune.start(), {**NO_METRIC, "failure": "the loss became nan", "traceback": "line 1"})
    tune.recorder.on_step_end(0, [])
    outcome = Study(study.uri, study.config).trials[0].result
    assert (outcome.state, outcome.reason, outcome.traceback) == ("failed", "the loss became nan", "line 1")


def test_recorder_halt_stops_the_search_and_leaves_the_trial_open(study: Study) -> None:
    tune = OneSlot(study)
    tune.report(tune.start(), {**NO_METRIC, "halt": "OSError: No space left on device"})
    with pytest.raises(StudyError, match="No space left on device"):
        tune.recorder.on_step_end(0, [])
    assert Study(study.uri, study.config).trials[0].state == "open"


def test_recorder_study_error_is_raised_at_the_end_of_the_step(study: Study) -> None:
    tune = OneSlot(study)
    trial = tune.start()
    other = Study(study.uri, study.config)
    other.ask()
    other.finish(0, "failed", reason="taken")
    tune.report(trial, result(entry(1, 5.0), complete=True))
    with pytest.raises(StudyError, match="another search process"):
        tune.recorder.on_step_end(0, [])


def test_recorder_stops_a_search_whose_first_trials_all_fail(study: Study) -> None:
    tune = OneSlot(study)
    for number in range(MAX_FAILED_FIRST):
        tune.recorder.on_step_end(0, [])
        tune.report(tune.start(), {**NO_METRIC, "failure": f"no split {number}"})
    with pytest.raises(StudyError, match=r"first 5 trials all failed.*no split 4"):
        tune.recorder.on_step_end(0, [])


def test_recorder_busy_time_excludes_epochs_of_earlier_processes(study: Study) -> None:
    tune = OneSlot(study)
    tune.report(tune.start(), result(entry(1, 9.0), entry(2, 8.0), {**entry(3, 7.0), "other_s": 0.5}))
    assert (tune.recorder.busy_s, tune.recorder.other_s) == (3.0, 0.5)
    assert len(study.trials[0].epochs) == 3
    assert SearchSummary(slots=2, wall_s=2.0, busy_s=3.0, other_s=0.5, idle_s=0.0).overhead_pct == 25.0


def test_idle_s_sums_the_wait_of_each_slot_for_the_last_trial() -> None:
    assert idle_s([3.0, 10.0, 4.0, 5.0, 9.0, 7.0], slots=3) == 10.0 - 9.0 + 10.0 - 7.0
    assert idle_s([3.0, 10.0], slots=1) == idle_s([], slots=2) == idle_s([1.0], slots=0) == 0.0


def test_recorder_notes_when_each_trial_ended(study: Study) -> None:
    tune, started_s = OneSlot(study), time.perf_counter()
    tune.report(tune.start(), result(entry(1, 9.0), complete=True))
    tune.report(tune.start(), {**NO_METRIC, "failure": "no split"})
    first_s, second_s = tune.recorder.ended_s
    assert started_s < first_s < second_s < time.perf_counter()


@pytest.mark.parametrize(
    ("changes", "latency"),
    [({}, False), ({"objectives": ["error", "latency"]}, True), ({"constraints": {"latency_ms": 20}}, True)],
)
def test_searcher_asks_for_latency_if_the_study_needs_it_and_records_it(
    write_study: Callable[..., str], tmp_path: Path, changes: dict[str, Any], latency: bool
) -> None:
    space = load_study_config(write_study(budget={"trials": 4, "epochs": 9}, **changes))
    study = Study.start(str(tmp_path / "measured"), space, "f")
    tune = OneSlot(study)
    trial = tune.start()
    assert trial.config["spec"].measure_latency == latency
    metrics = {"parameters": 7.0, "latency_ms": 3.5}
    tune.report(trial, {**result(entry(1, 9.0)), "metrics": metrics})
    tune.report(trial, {**result(entry(2, 5.0), complete=True), "metrics": {}})
    tune.recorder.on_step_end(0, [])
    assert Study(study.uri, space).trials[0].result.metrics == metrics


@pytest.mark.parametrize("batch_size", [None, 2])
def test_recorder_requeues_a_trial_whose_process_died_between_trials(
    write_study: Callable[..., str], tmp_path: Path, batch_size: int | None
) -> None:
    options = {"name": "tiny", "trial_batch_size": batch_size} if batch_size else {"name": "tiny"}
    space = load_study_config(write_study(study=options, budget={"trials": 3, "epochs": 2}, scheduler={"name": "none"}))
    study = Study.start(str(tmp_path / "study"), space, "f")
    source = SynchronousStudy(study) if batch_size else study
    slot = OneSlot(source)
    slot.scheduler._has_reserved = True  # there is no Tune whose processes could be kept
    ended = []
    while source.num_remaining:
        while trial := slot.start():
            number = trial.config["number"]
            if ended.count(number) < MAX_PROCESS_DEATHS and number != 0:
                trial.num_failures = 1  # Tune gives up at once: the process died between two trials
                slot.recorder.on_trial_error(0, [], trial)
                slot.recorder.on_step_end(0, [])
            else:
                slot.report(trial, result(entry(1, 9.0)))
                slot.report(trial, result(entry(2, 8.0), complete=True))
            ended.append(number)
    assert [trial.state for trial in study.trials] == ["complete"] * 3
    assert sorted(ended) == [0, 1, 1, 1, 2, 2, 2]
    assert Study.open(study.uri).num_remaining == 0


def test_recorder_trial_whose_process_always_dies_fails(study: Study) -> None:
    slot = OneSlot(study)
    trial = slot.start()
    trial.num_failures = MAX_PROCESS_DEATHS + 1  # Tune restarted it each time
    slot.recorder.on_trial_error(0, [], trial)
    assert study.trials[0].result.reason == "its process died 3 times"
    for _ in range(MAX_PROCESS_DEATHS + 1):
        trial = slot.start()
        assert trial.config["number"] == 1
        trial.num_failures = 1
        slot.recorder.on_trial_error(0, [], trial)
    assert study.trials[1].state == "failed"
    assert slot.start().config["number"] == 2
