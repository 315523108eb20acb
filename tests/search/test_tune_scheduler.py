"""Schedulers of Ray Tune over a study's pruner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler

from rcn_search.search.tune_scheduler import build_scheduler
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import EpochResult
from rcn_search.study.study import Study


@pytest.mark.parametrize("name", ["asha", "hyperband", "median", "pbt", "none"])
def test_build_scheduler_knows_the_epochs_of_ended_trials(
    write_study: Callable[..., str], tmp_path: Path, name: str
) -> None:
    config = load_study_config(write_study(budget={"trials": 20, "epochs": 4}, scheduler={"name": name}))
    study = Study.start(str(tmp_path / "study"), config, "f")
    for number in range(9):
        trial = study.ask()
        epochs = [
            EpochResult(
                epoch=epoch, loss=1.0, val_error_pct=5.0 + number / 10, best_error_pct=5.0, train_s=1.0, val_s=1.0
            )
            for epoch in (1, 2, 3, 4)
        ]
        study.report(trial.number, epochs)
        study.finish(trial.number, "complete")

    def decision(trials: list, error_pct: float) -> bool:
        study.trials = trials
        trial = SimpleNamespace(trial_id="any", config={"number": 34})
        epochs = [{"epoch": epoch, "val_error_pct": error_pct} for epoch in (1, 2, 3)]
        scheduler = build_scheduler(study)
        actions = [scheduler.on_trial_result(None, trial, {"epochs": epochs[:epoch]}) for epoch in (1, 2, 3)]
        return TrialScheduler.STOP in actions

    trials = list(study.trials)
    assert decision(trials, 9.0) == (name != "none")
    assert not decision(trials, 4.0)
    assert not decision([], 9.0)
