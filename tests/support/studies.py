"""Small studies: their files, and trials that are played instead of trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from rcn_search import storage
from rcn_search.config.loading import merge
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import EpochResult
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.study import Study
from rcn_search.study.trial import EndState

optuna.logging.set_verbosity(optuna.logging.WARNING)

Document = dict[str, Any]


@pytest.fixture
def document(tmp_path: Path) -> Document:
    """A study of two architectures with conditional parameters; none of its trials is trained."""
    return {
        "study": {"name": "tiny", "seed": 1},
        "base": {"data": {"uri": str(tmp_path / "data")}, "model": {"name": "rcn"}, "validation": {"augment": False}},
        "search": {
            "model.name": {"choice": ["rcn", "sumnet"]},
            "model.branches": {"int": [2, 6]},
            "model.skip": {"choice": [True, False], "when": {"model.name": "rcn", "model.branches": [4, 5]}},
            "model.channels": [
                {"choice": ["paper", 16], "when": {"model.branches": [4, 5, 6]}},
                {"int": [8, 32], "step": 8},
            ],
            "optimizer.lr": {"float": [1e-3, 1e-2], "log": True},
            "augment.occluder.max_px": {"choice": [0, 50]},
            "augment.occluder.min_px": [
                {"choice": [0], "when": {"augment.occluder.max_px": 0}},
                {"int": [10, 40], "step": 10},
            ],
        },
        "initial_trials": [
            {
                "model.name": "rcn",
                "model.branches": 5,
                "model.skip": False,
                "model.channels": "paper",
                "optimizer.lr": 4e-3,
                "augment.occluder.max_px": 50,
                "augment.occluder.min_px": 20,
            }
        ],
        "budget": {"trials": 12, "epochs": 4},
    }


@pytest.fixture
def write_study(tmp_path: Path, document: Document) -> Callable[..., str]:
    """Write `document` with changes laid over it to a study file; its path."""

    def write(**changes: Any) -> str:
        search = {**document["search"], **changes.pop("search", {})}
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**merge(document, changes), "search": search}, sort_keys=False))
        return str(path)

    return write


def resume_study(uri: str, config: StudyConfig, data_fingerprint: str = "f") -> Study:
    """Open a study to run it, as a search does after it was interrupted."""
    Study.check(uri, config, data_fingerprint)
    return Study(uri, config)


def epoch_result(number: int, error_pct: float, *, other_s: float = 0.0) -> EpochResult:
    """An epoch with 2 s of training and 1 s of validation."""
    return EpochResult(
        epoch=number,
        loss=1.0,
        val_error_pct=error_pct,
        best_error_pct=error_pct,
        train_s=2.0,
        val_s=1.0,
        other_s=other_s,
    )


def play_trials(study: Study, num_trials: int) -> None:
    """Run trials whose errors depend on their numbers: every third is pruned, every third fails."""
    for _ in range(num_trials):
        trial = study.ask()
        assert trial is not None
        state: EndState = ("complete", "pruned", "failed")[trial.number % 3]  # type: ignore[assignment]
        for epoch in range(1, 5 if state == "complete" else 3):
            study.report(trial.number, [epoch_result(epoch, 20.0 - epoch + trial.number / 10, other_s=0.5)])
        study.finish(trial.number, state, reason="the loss became nan" if state == "failed" else None)


@pytest.fixture
def play_study(tmp_path: Path, write_study: Callable[..., str]) -> Callable[..., Study]:
    """Make a study whose trials were run by `play_trials`, except for the last ones, which are open."""

    def play(uri: str = "", *, num_trials: int = 12, num_open: int = 0, **changes: Any) -> Study:
        config = load_study_config(write_study(**changes))
        study = Study.start(uri or str(tmp_path / "played"), config, "drawn")
        play_trials(study, num_trials)
        for _ in range(num_open):
            trial = study.ask()
            assert trial is not None
            report = {"epoch": 1, "loss": 1.0, "val_error_pct": 19.5, "best_error_pct": 19.5, "images_per_s": 9.0}
            history = [{**report, "train_s": 2.0, "val_s": 1.0, "lr": 0.1}]
            storage.write_json(storage.join(trial.folder, "history.json"), history)
        return Study.open(study.uri)

    return play
