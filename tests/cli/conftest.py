"""A small configuration, a finished run of it, and a study over it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rcn_search.config.loading import load_train_config
from rcn_search.training.trainer import Trainer


@pytest.fixture(scope="session")
def config(synthetic_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration file: two epochs of three steps."""
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    document = {
        "data": {"uri": synthetic_uri},
        "model": {"branches": 2, "channels": 8},
        "schedule": {"epochs": 2, "batch_size": 32},
        "compute": {"precision": "fp32", "channels_last": False, "threads": 1},
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="session")
def checkpoint(config: Path) -> Path:
    """Checkpoint of a finished run."""
    Trainer(load_train_config(str(config)), str(config.parent / "run")).train()
    return config.parent / "run" / "best.safetensors"


@pytest.fixture
def study_file(config: Path, tmp_path: Path) -> Path:
    """A study over that configuration."""
    path = tmp_path / "study.yaml"
    base = yaml.safe_load(config.read_text())
    del base["schedule"]["epochs"], base["compute"]["threads"]
    document = {
        "study": {"name": "tiny"},
        "base": {**base, "validation": {"augment": False}},
        "search": {"model.branches": {"int": [2, 3]}},
        "budget": {"trials": 2, "epochs": 1},
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path
