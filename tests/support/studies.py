"""Study files of a few seconds."""

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
from rcn_search.study.study import Study

optuna.logging.set_verbosity(optuna.logging.WARNING)

Document = dict[str, Any]


@pytest.fixture
def document(tmp_path: Path) -> Document:
    """A study of two architectures with conditional parameters; nothing of it is trained."""
    return {
        "study": {"name": "tiny", "seed": 1},
        "base": {
            "data": {"uri": str(tmp_path / "data")},
            "model": {"name": "rcn"},
            "validation": {"augment": False},
        },
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
    """Write the study file with changes laid over it; its path."""

    def write(**changes: Any) -> str:
        search = {**document["search"], **changes.pop("search", {})}
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**merge(document, changes), "search": search}, sort_keys=False))
        return str(path)

    return write


@pytest.fixture
def play_study(tmp_path: Path, write_study: Callable[..., str]) -> Callable[..., Study]:
    """Run a study whose errors depend on the trials' numbers: every third is pruned, every third fails."""

    def play(uri: str = "", *, num_trials: int = 12, num_open: int = 0, **changes: Any) -> Study:
        study = Study.create(
            uri or str(tmp_path / "played"), load_study_config(write_study(**changes)), data_fingerprint="drawn"
        )
        for _ in range(num_trials):
            number = study.ask().number
            state = ("complete", "pruned", "failed")[number % 3]
            for each in range(1, 5 if state == "complete" else 3):
                error = 20.0 - each + number / 10
                epoch = EpochResult(
                    epoch=each, loss=1.0, val_error_pct=error, best_error_pct=error, train_s=2.0, val_s=1.0, other_s=0.5
                )
                study.report(number, [epoch])
            study.finish(number, state, reason="the loss became nan" if state == "failed" else None)
        for _ in range(num_open):
            trial = study.ask()
            report = {"epoch": 1, "loss": 1.0, "val_error_pct": 19.5, "best_error_pct": 19.5, "images_per_s": 9.0}
            history = [{**report, "train_s": 2.0, "val_s": 1.0, "lr": 0.1}]
            storage.write_json(storage.join(trial.folder, "history.json"), history)
        return Study.open(study.uri)

    return play
