"""Stop rules: when they hold, that the reason is recorded, and which can never hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rcn_search import storage
from rcn_search.config.errors import ConfigError
from rcn_search.study import stopping
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import StudyError
from rcn_search.study.stopping import StopCheck, regret_bound_pct
from rcn_search.study.study import Study
from rcn_search.study.synchronous import SynchronousStudy
from rcn_search.study_report.status import study_status
from rcn_search.study_report.summary import best_trials_table
from tests.support.studies import epoch_result, resume_study


@pytest.fixture
def start(write_study: Callable[..., str], tmp_path: Path) -> Callable[..., Study]:
    """Start a random search with a stop rule."""

    def start_with(stop: dict[str, Any] | None, **changes: Any) -> Study:
        changes = {"budget": {"trials": 40}, "sampler": {"name": "random"}, "initial_trials": [], **changes}
        config = load_study_config(write_study(stop=stop, **changes))
        return Study.start(str(tmp_path / "study"), config, "f")

    return start_with


def end(study: Any, number: int, error_pct: float, state: str = "complete") -> None:
    epochs = 4 if state == "complete" else 1
    study.report(number, [epoch_result(epoch, error_pct) for epoch in range(1, epochs + 1)])
    study.finish(number, state, reason="nan" if state == "failed" else None)


def run(study: Study, errors: list[float], state: str = "complete") -> None:
    """Run one trial after the other until the errors are used up, or the study stops."""
    for error_pct in errors:
        if (trial := study.ask()) is None:
            return
        end(study, trial.number, error_pct, state)


def test_no_gain_counts_trials_after_the_best_one(start: Callable[..., Study]) -> None:
    study = start({"no_gain": 3})
    run(study, [9.0, 8.0, 8.5, 8.1, 7.0, 7.0, 9.0])
    assert study.stop is None
    run(study, [9.0, 9.0])
    assert study.num_trials == 8
    assert study.ask() is None
    assert (study.num_remaining, study.has_unfinished) == (0, False)
    assert study.stop is not None
    assert study.stop.reason == "3 trials that were proposed after trial 4 had ended are no better (stop.no_gain)"


def test_no_gain_counts_pruned_trials_and_no_failed_ones(start: Callable[..., Study]) -> None:
    study = start({"no_gain": 3})
    run(study, [9.0])
    run(study, [9.0] * 5, state="failed")
    run(study, [9.0] * 2, state="pruned")
    assert study.ask() is not None


def test_no_gain_does_not_count_trials_that_did_not_know_the_best_one(start: Callable[..., Study]) -> None:
    study = start({"no_gain": 2})
    for _ in range(6):
        study.ask()
    for number in (1, 2, 3, 4, 5, 0):
        end(study, number, 9.0 - (number == 0))
    run(study, [9.0])
    assert study.ask() is not None
    assert study.stop is None


def test_no_gain_with_several_objectives_counts_new_points_of_the_front(start: Callable[..., Study]) -> None:
    study = start({"no_gain": 2}, objectives=["error", "train_time"])
    for error_pct, epochs in ((9.0, 4), (9.5, 3), (8.0, 4), (9.6, 3), (9.0, 4), (1.0, 1)):
        if (trial := study.ask()) is None:
            break
        study.report(trial.number, [epoch_result(epoch, error_pct) for epoch in range(1, epochs + 1)])
        study.finish(trial.number, "complete")
    assert study.num_trials == 5


def test_stop_is_known_to_a_resumed_study_until_its_rule_changes(start: Callable[..., Study]) -> None:
    study = start({"no_gain": 2})
    run(study, [8.0] * 9)
    assert study.num_trials == 3
    again = resume_study(study.uri, study.config)
    assert again.stop == study.stop
    assert again.num_remaining == 0
    other = study.config.model_copy(update={"stop": None})
    assert resume_study(study.uri, other).num_remaining == 37
    rule = study.config.stop.model_copy(update={"no_gain": 4})
    longer = resume_study(study.uri, study.config.model_copy(update={"stop": rule}))
    run(longer, [8.0] * 9)
    assert longer.num_trials == 5
    assert storage.list_names(storage.join(study.uri, "stops")) == ["000000.json", "000001.json"]


def test_open_trials_of_a_stopped_study_are_still_run(start: Callable[..., Study]) -> None:
    study = start({"no_gain": 1})
    run(study, [8.0])
    first, second = study.ask(), study.ask()
    end(study, second.number, 9.0)
    assert study.ask() is None
    assert study.stop is not None
    resumed = resume_study(study.uri, study.config)
    assert resumed.num_remaining == 1
    assert resumed.ask().number == first.number
    assert resumed.ask() is None


def test_initial_trials_are_run_before_a_rule_is_checked(start: Callable[..., Study], document: dict[str, Any]) -> None:
    initial = document["initial_trials"][0]
    study = start({"no_gain": 1}, initial_trials=[{**initial, "optimizer.lr": lr} for lr in (2e-3, 3e-3, 4e-3, 5e-3)])
    run(study, [8.0] * 9)
    assert study.num_trials == 4


def test_repeatable_study_stops_between_two_batches(start: Callable[..., Study]) -> None:
    config = {"study": {"trial_batch_size": 4}, "scheduler": {"name": "none"}}
    source = SynchronousStudy(start({"no_gain": 2}, **config))
    for _ in range(4):
        batch = [source.ask() for _ in range(4)]
        if not all(batch):
            break
        for trial in batch:
            end(source, trial.number, 8.0)
    assert len(source.trials) == 8
    assert source.num_remaining == 0


def test_damaged_stop_is_named_and_refuses_a_resume(start: Callable[..., Study]) -> None:
    study = start({"no_gain": 1})
    run(study, [8.0] * 3)
    storage.write_bytes(storage.join(study.uri, "stops/000000.json"), b'{"rule": {}}')
    assert "stops/000000.json is damaged" in Study.open(study.uri).problems[0]
    with pytest.raises(StudyError, match=r"stops/000000.json is damaged"):
        resume_study(study.uri, study.config)


def test_regret_bound_falls_with_trials_near_the_optimum(start: Callable[..., Study]) -> None:
    study = start({"regret": 1e-9})

    def error_pct(lr: float) -> float:
        return 5 + 10 * abs(math.log10(lr / 4e-3))

    for _ in range(30):
        trial = study.ask()
        end(study, trial.number, error_pct(trial.params["optimizer.lr"]))
    bounds = [regret_bound_pct(study.trials[:count]) for count in (20, 30)]
    assert 0 < bounds[1] < bounds[0] < 10
    assert study.stop is None


def test_regret_is_bounded_after_every_fifth_complete_trial(
    start: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    bounds = iter([3.0, 2.0, 0.5])
    monkeypatch.setattr(stopping, "regret_bound_pct", lambda trials: asked.append(len(trials)) or next(bounds))
    study = start({"regret": 1.0})
    run(study, [8.0] * 40)
    assert asked == [20, 25, 30]
    assert study.num_trials == 30
    assert study.stop.reason == "the error is at most 0.5 points above the lowest of the space (stop.regret)"


def test_stop_check_of_a_loaded_study_continues_the_count(start: Callable[..., Study]) -> None:
    study = start({"no_gain": 3})
    run(study, [9.0, 8.0, 8.0, 8.0])
    assert StopCheck(study.config.stop, study.trials).reason() is None
    run(study, [8.0])
    assert "3 trials" in StopCheck(study.config.stop, study.trials).reason()


def test_status_and_summary_say_why_a_study_stopped(start: Callable[..., Study], capsys: Any) -> None:
    from rich.console import Console

    study = start({"no_gain": 2})
    run(study, [8.0] * 5)
    console = Console(width=200)
    console.print(study_status(Study.open(study.uri)), best_trials_table(study))
    assert "stopped after 3 of 40 trials: 2 trials that were proposed after trial 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stop", "changes", "message"),
    [
        ({}, {}, "it can never hold: give no_gain, regret or both"),
        ({"no_gain": 0}, {}, "no_gain"),
        ({"regret": -1.0}, {}, "regret"),
        ({"no_gain": 40}, {}, "no_gain = 40 can never hold: the study has 40 trials"),
        ({"regret": 0.5}, {"budget": {"trials": 20}}, "regret can never hold: it is computed from 20 complete trials"),
        ({"regret": 0.5}, {"objectives": ["error", "parameters"]}, "and the study has several; use no_gain"),
        ({"regret": 0.5}, {"scheduler": {"name": "pbt"}}, "can never hold with scheduler pbt"),
        ({"patience": 3}, {}, "patience"),
    ],
)
def test_load_study_with_a_stop_rule_that_can_never_hold_is_refused(
    start: Callable[..., Study], stop: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        start(stop, **changes)
    assert message in str(raised.value)


def test_load_study_whose_parameters_are_all_conditional_refuses_regret(tmp_path: Path, document: Any) -> None:
    import yaml

    document["search"] = {
        "model.branches": {"choice": [5]},
        "optimizer.lr": {"float": [1e-3, 1e-2], "when": {"model.branches": 5}},
    }
    document |= {"initial_trials": [], "stop": {"regret": 0.5}, "budget": {"trials": 40, "epochs": 4}}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(ConfigError, match=r"stop: regret can never hold: it is computed from parameters without"):
        load_study_config(str(path))
