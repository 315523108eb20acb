from __future__ import annotations

from collections import Counter

import pytest

from rcn_search.study.loading import load_study_config
from rcn_search.study.records import EpochResult
from rcn_search.study.snapshot import open_study
from rcn_search.study.statistics import StudyStatistics
from rcn_search.study.study import Study


def epoch(number: int, error_pct: float) -> EpochResult:
    return EpochResult(epoch=number, loss=1.0, val_error_pct=error_pct, best_error_pct=error_pct, train_s=2.0, val_s=1.0)


@pytest.fixture
def study(write_study, tmp_path) -> Study:
    changes = {
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
        "budget": {"trials": 6, "epochs": 5},
    }
    return Study.start(str(tmp_path / "study"), load_study_config(write_study(**changes)), data_fingerprint="f")


def as_dict(standing: StudyStatistics) -> dict:
    rungs = [(rung.epoch, rung.errors_pct, rung.num_pruned) for rung in standing.rungs]
    counts = {state: count for state, count in standing.counts.items() if count}
    front = [trial.number for trial in standing.pareto_front]
    return {"rungs": rungs, "counts": counts, "front": front, "epochs": standing.num_epochs, "busy_s": standing.busy_s}


def test_kept_up_event_by_event_it_is_what_a_look_at_all_trials_gives(study):
    standing = StudyStatistics(study)
    assert (standing.num_trials, standing.num_ended, standing.num_remaining_epochs) == (6, 0, 30)
    curves = [[9.0, 8.0, 7.0, 6.5, 6.0], [12.0], [10.0, 9.0, 8.5], [], [8.0, 7.5, 7.0, 5.5, 5.0]]
    for number, curve in enumerate(curves):
        standing.update(study.ask())
        for each, error in enumerate(curve, start=1):
            study.report(number, [epoch(each, error)])
            standing.update(study.trials[number])
        study.finish(number, "complete" if len(curve) == 5 else "pruned" if curve else "failed", reason="broke")
        standing.update(study.trials[number])
    running = study.ask()
    study.report(running.number, [epoch(1, 11.0), epoch(2, 10.0)])  # two at once: it was taken up
    standing.update(running)

    assert as_dict(standing) == {
        "rungs": [
            (1, [8.0, 9.0, 10.0, 11.0, 12.0], 1),
            (2, [7.5, 8.0, 9.0, 10.0], 1),
            (4, [5.5, 6.5], 0),
            (5, [5.0, 6.0], 0),
        ],
        "counts": {"complete": 2, "pruned": 2, "failed": 1, "running": 1},
        "front": [4],
        "epochs": 16,
        "busy_s": 48.0,
    }
    assert as_dict(StudyStatistics(study)) == as_dict(standing)
    standing.update(study.trials[0])
    assert as_dict(StudyStatistics(study)) == as_dict(standing)
    assert (standing.num_trials, standing.num_ended) == (6, 5)
    assert standing.num_remaining_epochs == 1  # the running one is near the mean of 2.8 already
    rung = standing.rungs[0]
    assert [rung.quantile(share) for share in (0, 0.25, 0.5, 0.75, 1)] == [8.0, 9.0, 10.0, 11.0, 12.0]


def test_a_trial_that_is_to_be_taken_up_again_is_open(play_study):
    standing = StudyStatistics(open_study(play_study(num_trials=3, num_open=2).uri))
    assert standing.counts == Counter(complete=1, pruned=1, failed=1, open=2)
    assert (standing.num_trials, standing.num_ended, standing.num_epochs) == (12, 3, 4 + 2 + 2 + 2)


def test_the_front_of_several_objectives(write_study, tmp_path):
    space = load_study_config(write_study(objectives=["error", "train_time"]))
    study = Study.start(str(tmp_path / "study"), space, data_fingerprint="f")
    standing = StudyStatistics(study)
    # (error, epochs of 2 s): trials 2 and 4 are beaten by 1 and 3, 5 is as good as 3
    for number, curve in enumerate([[5.0] * 4, [9.0], [9.0, 9.0], [6.0, 6.0], [6.0] * 3, [6.0, 6.0]]):
        study.ask()
        study.report(number, [epoch(each, error) for each, error in enumerate(curve, start=1)])
        study.finish(number, "complete")
        standing.update(study.trials[number])
    assert [trial.number for trial in standing.pareto_front] == [0, 1, 3]


@pytest.mark.parametrize(
    ("scheduler", "epochs", "rungs"),
    [
        ({"name": "asha", "grace_epochs": 2, "reduction_factor": 3}, 20, [2, 6, 18, 20]),
        ({"name": "asha", "grace_epochs": 1, "reduction_factor": 2.5}, 10, [1, 3, 7, 10]),
        ({"name": "asha", "grace_epochs": 5, "reduction_factor": 2}, 5, [5]),
        ({"name": "none"}, 6, [1, 2, 4, 6]),
    ],
)
def test_rungs_are_those_of_the_scheduler(write_study, tmp_path, scheduler, epochs, rungs):
    space = load_study_config(write_study(scheduler=scheduler, budget={"epochs": epochs}))
    study = Study.start(str(tmp_path / "study"), space, data_fingerprint="f")
    assert [rung.epoch for rung in StudyStatistics(study).rungs] == rungs
