from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rcn_search.study.loading import load_study_config
from rcn_search.study.snapshot import open_study
from rcn_search.study.statistics import StudyStatistics
from rcn_search.study.study import Study
from tests.support.studies import epoch_result


@pytest.fixture
def study(write_study: Callable[..., str], tmp_path: Path) -> Study:
    changes = {
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
        "budget": {"trials": 6, "epochs": 5},
    }
    return Study.start(str(tmp_path / "study"), load_study_config(write_study(**changes)), "f")


def as_dict(statistics: StudyStatistics) -> dict[str, Any]:
    rungs = [(rung.epoch, rung.errors_pct, rung.num_pruned) for rung in statistics.rungs]
    counts = {state: count for state, count in statistics.counts.items() if count}
    front = [trial.number for trial in statistics.pareto_front]
    return {
        "rungs": rungs,
        "counts": counts,
        "front": front,
        "epochs": statistics.num_epochs,
        "busy_s": statistics.busy_s,
    }


def test_update_by_event_gives_what_reading_all_trials_gives(study: Study) -> None:
    statistics = StudyStatistics(study)
    assert (statistics.num_trials, statistics.num_ended, statistics.num_remaining_epochs) == (6, 0, 30)
    curves = [[9.0, 8.0, 7.0, 6.5, 6.0], [12.0], [10.0, 9.0, 8.5], [], [8.0, 7.5, 7.0, 5.5, 5.0]]
    for number, curve in enumerate(curves):
        statistics.update(study.ask())
        for each, error in enumerate(curve, start=1):
            study.report(number, [epoch_result(each, error)])
            statistics.update(study.trials[number])
        study.finish(number, "complete" if len(curve) == 5 else "pruned" if curve else "failed", reason="broke")
        statistics.update(study.trials[number])
    running = study.ask()
    study.report(running.number, [epoch_result(1, 11.0), epoch_result(2, 10.0)])  # two at once: it was resumed
    statistics.update(running)

    assert as_dict(statistics) == {
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
    assert as_dict(StudyStatistics(study)) == as_dict(statistics)
    statistics.update(study.trials[0])
    assert as_dict(StudyStatistics(study)) == as_dict(statistics)
    assert (statistics.num_trials, statistics.num_ended) == (6, 5)
    assert statistics.num_remaining_epochs == 1  # the running one is near the mean of 2.8 already
    rung = statistics.rungs[0]
    assert [rung.quantile(share) for share in (0, 0.25, 0.5, 0.75, 1)] == [8.0, 9.0, 10.0, 11.0, 12.0]


def test_unfinished_trial_of_an_opened_study_counts_as_open(play_study: Callable[..., Study]) -> None:
    statistics = StudyStatistics(open_study(play_study(num_trials=3, num_open=2).uri))
    assert statistics.counts == Counter(complete=1, pruned=1, failed=1, open=2)
    assert (statistics.num_trials, statistics.num_ended, statistics.num_epochs) == (12, 3, 4 + 2 + 2 + 2)


def test_pareto_front_of_several_objectives(write_study: Callable[..., str], tmp_path: Path) -> None:
    config = load_study_config(write_study(objectives=["error", "train_time"]))
    study = Study.start(str(tmp_path / "study"), config, "f")
    statistics = StudyStatistics(study)
    # (error, epochs of 2 s): trials 2 and 4 are dominated by 1 and 3, and 5 equals 3
    for number, curve in enumerate([[5.0] * 4, [9.0], [9.0, 9.0], [6.0, 6.0], [6.0] * 3, [6.0, 6.0]]):
        study.ask()
        study.report(number, [epoch_result(each, error) for each, error in enumerate(curve, start=1)])
        study.finish(number, "complete")
        statistics.update(study.trials[number])
    assert [trial.number for trial in statistics.pareto_front] == [0, 1, 3]


@pytest.mark.parametrize(
    ("scheduler", "epochs", "rungs"),
    [
        ({"name": "asha", "grace_epochs": 2, "reduction_factor": 3}, 20, [2, 6, 18, 20]),
        ({"name": "asha", "grace_epochs": 1, "reduction_factor": 2.5}, 10, [1, 3, 7, 10]),
        ({"name": "asha", "grace_epochs": 5, "reduction_factor": 2}, 5, [5]),
        ({"name": "none"}, 6, [1, 2, 4, 6]),
    ],
)
def test_rungs_follow_the_scheduler(
    write_study: Callable[..., str], tmp_path: Path, scheduler: dict[str, Any], epochs: int, rungs: list[int]
) -> None:
    config = load_study_config(write_study(scheduler=scheduler, budget={"epochs": epochs}))
    study = Study.start(str(tmp_path / "study"), config, "f")
    assert [rung.epoch for rung in StudyStatistics(study).rungs] == rungs
