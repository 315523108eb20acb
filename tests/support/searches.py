"""Searches of a few seconds through real Ray and real training."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from rcn_search.search.open_or_resume import StudyRequest
from rcn_search.search.run_search import SearchResult, run_search
from rcn_search.search.tune_searcher import StudyRecorder


def tiny_base(data_uri: str) -> dict[str, Any]:
    """A training configuration whose network trains in a moment."""
    return {
        "data": {"uri": data_uri},
        "model": {"name": "rcn", "branches": 2, "channels": 8},
        "augment": {"translate": 0.0, "scale": 0.0, "rotate_deg": 0.0, "occluder": {"min_px": 0, "max_px": 0}},
        "schedule": {"batch_size": 16},
        "checkpoint": {"every_s": 0},
        "compute": {"precision": "fp32", "channels_last": False},
    }


def write_tiny_study(folder: Path, data_uri: str, **changes: Any) -> str:
    """Write a study file of four trials, one at a time: a good one, a bad one, one without data, another good one."""
    initial_trials = [(1e-2, "train"), (1e-7, "train"), (1e-2, "nowhere"), (2e-2, "train")]
    document = {
        "study": {"name": "tiny"},
        "base": {**tiny_base(data_uri), "validation": {"augment": False}},
        "search": {
            "optimizer.lr": {"float": [1e-7, 1e-1], "log": True},
            "data.train_split": {"choice": ["train", "nowhere"]},
        },
        "initial_trials": [{"optimizer.lr": lr, "data.train_split": split} for lr, split in initial_trials],
        "budget": {"trials": 4, "epochs": 3, "max_concurrent": 1},
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
        "sampler": {"name": "random"},
        **changes,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


def search(study_file: str, folder: Path, **options: Any) -> tuple[SearchResult, str]:
    """Run a study file in ``folder`` with options of `StudyRequest`; the result and all that was printed."""
    text = io.StringIO()
    request = StudyRequest(study_file=study_file, **{"study_uri": str(folder / "study"), **options})
    result = run_search(request, leaderboard=str(folder / "board"), console=Console(file=text, width=160))
    return result, text.getvalue()


def on_trial_results(monkeypatch: pytest.MonkeyPatch, listener: Callable[[dict[str, Any]], object]) -> None:
    """Call ``listener`` with each result of a trial after it was recorded and before the next one is asked for."""
    record = StudyRecorder.on_trial_result

    def record_and_call(
        recorder: StudyRecorder, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        record(recorder, iteration, trials, trial, result, **info)
        listener(result)

    monkeypatch.setattr(StudyRecorder, "on_trial_result", record_and_call)
