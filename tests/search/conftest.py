"""Study files of a few seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from rcn_search.config_file import merge

optuna.logging.set_verbosity(optuna.logging.WARNING)

Document = dict[str, Any]


@pytest.fixture
def document(tmp_path: Path) -> Document:
    """A study of two architectures with conditional parameters; nothing of it is trained."""
    return {
        "study": {"name": "tiny", "seed": 1},
        "base": {
            "data": {"uri": str(tmp_path / "data")},
            "model": {"kind": "rcn"},
            "validation": {"jitter": False},
        },
        "search": {
            "model.kind": {"choice": ["rcn", "sumnet"]},
            "model.branches": {"int": [2, 6]},
            "model.skip": {"choice": [True, False], "when": {"model.kind": "rcn", "model.branches": [4, 5]}},
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
        "points": [
            {
                "model.kind": "rcn",
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
