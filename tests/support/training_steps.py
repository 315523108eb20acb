"""Tiny runs of each model and optimizer, with all augmentation, to look at their steps."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from rcn_search.config.schema import TrainConfig
from rcn_search.training.trainer import Trainer

PHOTOMETRIC = {
    "brightness": 0.2,
    "contrast": 0.2,
    "gamma": 0.3,
    "noise": 0.05,
    "blur_px": 1.0,
    "downscale": 0.5,
    "jpeg_quality": 40,
}
AUGMENT = {"flip": 0.5, "flip_label_origin": 1, "photometric": PHOTOMETRIC, "occluder": {"count": 2}}
MODELS: dict[str, dict[str, Any]] = {
    "rcn": {"name": "rcn", "branches": 3, "channels": 16, "skip": True, "zero_non_pooled": True},
    "sumnet": {"name": "sumnet", "branches": 3},
    "tcdcn": {"name": "tcdcn", "auxiliary": True, "task_stop_threshold": 0.5},
    "denoiser": {"name": "denoiser", "channels": 8, "kernel_px": 9, "num_corrupted_points": 2},
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "muon": {"name": "muon", "lr": 5e-3},
    "adamw": {"name": "adamw", "lr": 4e-3},
    "adadelta": {"name": "adadelta", "lr": 1.0, "weight_decay": 0.0},
}


def trainer(config: TrainConfig, folder: Path, step: str, **sections: Any) -> Trainer:
    document = config.model_dump() | {"augment": AUGMENT, "data": {"uri": config.data.uri, "num_train": 20}}
    document |= sections | {"schedule": config.schedule.model_dump() | {"epochs": 1, "batch_size": 8}}
    run = Trainer(TrainConfig.model_validate(document), str(folder))
    with_kind = run.settings.model_copy(update={"step": step})
    run.settings = with_kind
    run.state = type(run.state)(
        run.config, run.state.split, run.schema, with_kind, num_steps=3, distributed=run.distributed
    )
    return run


def allow_capturable_adadelta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PyTorch take the form of AdaDelta for a captured step on the CPU, too."""
    adadelta_module = importlib.import_module("torch.optim.adadelta")
    monkeypatch.setattr(adadelta_module, "_get_capturable_supported_devices", lambda supports_xla: ["cpu"])
