"""A search process dies at every single write, before or after it: nothing is lost, and the study resumes."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from rcn_search import storage
from rcn_search.study.identity import resume_settings
from rcn_search.study.lease import acquire
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import EpochResult
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.store import StudyStore, study_exists
from rcn_search.study.study import Study
from rcn_search.study.warm_start import warm_start_study

Event = Callable[[str, StudyConfig], None]
Table = list[tuple[dict[str, Any], str, list[float]]]
NUM_TRIALS = 4


class Crash(BaseException):
    """The process is gone; no handler of the program runs."""


class FaultyStorage:
    """Counts writes and, once armed, ends the program at one of them, so that nothing is written after it either."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_writes, self._left, self._after = 0, -1, False
        self._write = storage.write_bytes
        monkeypatch.setattr(storage, "write_bytes", self._stopping)

    def arm(self, number: int, *, after: bool) -> None:
        """Stop before or after the write that comes after ``number`` others."""
        self._left, self._after = number, after

    def _stopping(self, uri: str, content: bytes, *, if_absent: bool = False) -> None:
        self.num_writes += 1
        if self._left == 0 and not self._after:
            raise Crash
        self._write(uri, content, if_absent=if_absent)
        if self._left == 0:
            self._after = False
            raise Crash
        self._left -= 1


@pytest.fixture
def uri(store: str) -> str:
    return storage.join(store, "study")


@pytest.fixture
def config(write_study: Callable[..., str]) -> StudyConfig:
    return load_study_config(write_study(budget={"trials": NUM_TRIALS}, scheduler={"name": "none"}))


def run_study(uri: str, config: StudyConfig) -> None:
    """Run a study as a search process does: start or resume it, and run what remains, two trials at once."""
    if study_exists(uri):
        Study.check(uri, config, "f")
    else:
        Study.start(uri, config, "f")
    with acquire(uri, resume_settings(config), on_status=str) as lease:
        study = Study(uri, config, StudyStore(uri, lease.check))
        while study.num_remaining:
            running = [trial for trial in (study.ask(), study.ask()) if trial]
            for trial in running:
                study.report(trial.number, curve(trial.number))
                study.finish(trial.number, "complete" if trial.number % 2 else "pruned")


def curve(number: int) -> list[EpochResult]:
    """Epochs of a trial, the same whenever it is run."""
    errors = [9.0 - number / 7 - index for index in range(3)]
    return [
        EpochResult(epoch=index + 1, loss=1.0, val_error_pct=error, best_error_pct=error, train_s=1.0, val_s=1.0)
        for index, error in enumerate(errors)
    ]


def table(study: Study) -> Table:
    return [
        (trial.params, trial.state, [epoch.val_error_pct for epoch in trial.epochs.values()]) for trial in study.trials
    ]


# Each put-if-absent waits for a while on Swift, and these tests end the process before it reaches storage.
but_swift = pytest.mark.parametrize("store", ["file", "memory", "moto"], indirect=True)


@but_swift
def test_study_whose_process_dies_at_any_write_resumes_without_loss(
    uri, config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = FaultyStorage(monkeypatch)
    monkeypatch.setattr("rcn_search.study.lease.machine", lambda: f"{uuid.uuid4()}")  # each process on another machine
    monkeypatch.setattr("rcn_search.study.lease.LEASE_TIMEOUT_S", -1.0)  # and the last one died long ago
    straight = storage.join(uri, "straight")
    run_study(straight, config)
    expected, num_writes = table(Study.open(straight)), faulty.num_writes
    assert num_writes == 1 + 2 + 2 * NUM_TRIALS  # study.json, the lease acquired and released, two for each trial

    for number in range(num_writes):
        for after in (False, True):
            study_uri = storage.join(uri, f"{number}-{after}")
            faulty.arm(number, after=after)
            with pytest.raises(Crash):
                run_study(study_uri, config)
            faulty.arm(-1, after=False)
            if number or after:
                between = table(Study.open(study_uri))
                proposed = [params for params, _, _ in between]
                assert proposed == [params for params, _, _ in expected][: len(proposed)], (
                    "the trial is there, or it is not"
                )
                assert all(trial in expected for trial in between if trial[1] != "open")
            run_study(study_uri, config)
            assert table(Study.open(study_uri)) == expected
            assert storage.list_names(storage.join(study_uri, "trials")) == [
                f"{trial:06d}" for trial in range(NUM_TRIALS)
            ]


@but_swift
def test_warm_start_that_dies_at_any_write_leaves_a_whole_study_or_none(
    uri, config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = storage.join(uri, "parent")
    run_study(parent, config)
    faulty = FaultyStorage(monkeypatch)
    for number in range(2):
        for after in (False, True):
            child = storage.join(uri, f"child-{number}-{after}")
            faulty.arm(number, after=after)
            with pytest.raises(Crash):
                warm_start_study(parent, child, config, "f")
            faulty.arm(-1, after=False)
            if not study_exists(child):
                assert warm_start_study(parent, child, config, "f") == (NUM_TRIALS, 0, [])
            assert len(Study.open(child).warm_start_trials) == NUM_TRIALS
