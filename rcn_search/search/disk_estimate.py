"""Estimate of the disk space that the checkpoints of a study will take, before it starts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress

from rcn_search import storage
from rcn_search.config.schema import TrainConfig
from rcn_search.search.custom_networks import allow_networks, sample_settings
from rcn_search.study.objectives import num_model_parameters
from rcn_search.study.space.study_config import StudyConfig

NUM_SETTINGS = 32
"""Settings drawn at random from a search space; of a fixed-run study all runs count."""
VALUE_BYTES = 4
OPTIMIZER_VALUES = {"adadelta": 2, "adamw": 2, "muon": 1}
"""Values that an optimizer keeps for each weight; Muon keeps two for the few weights that AdamW moves."""


def estimate_checkpoint_bytes(config: StudyConfig, num_trials: int, num_points: int) -> int:
    """Estimate the bytes of the best and last checkpoints of so many trials, from the mean over settings."""
    allow_networks(config)
    sizes = []
    for values in sample_settings(config, NUM_SETTINGS):
        with suppress(ValueError):  # a network that cannot be built fails its trial, with a reason
            sizes.append(estimate_trial_bytes(config.train_config(values), num_points))
    return round(num_trials * sum(sizes) / max(1, len(sizes)))


def estimate_trial_bytes(config: TrainConfig, num_points: int) -> int:
    """Estimate the bytes of a run's checkpoints: weights in best.safetensors, weights and state in last.safetensors."""
    num_weights = num_model_parameters(config.model, num_points, config.input.size_px, config.input.channels)
    num_copies = 1 + 1 + OPTIMIZER_VALUES[config.optimizer.name] + (1 if config.schedule.ema_decay else 0)
    if config.validation.save == "every":
        num_copies += config.schedule.epochs
    return VALUE_BYTES * num_weights * num_copies


class EstimateProcess:
    """An estimate under way in a process of its own, which imports torch for it, as a search process does not."""

    def __init__(self, config: StudyConfig, num_trials: int, num_points: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as stream:
            study = config.model_dump(mode="json", by_alias=True)
            stream.write(json.dumps([study, num_trials, num_points]).encode())
        self._process.stdin = None

    def result(self) -> int | None:
        """Wait for the estimate; None if it failed, which is no reason to end a search."""
        text, _ = self._process.communicate()
        return int(text) if self._process.returncode == 0 else None


def free_disk_bytes(uri: str) -> int | None:
    """Return the free bytes of the disk that holds a folder; None for an object store."""
    return shutil.disk_usage(storage.local_path(uri)).free if storage.is_local(uri) else None


if __name__ == "__main__":  # of an `EstimateProcess`
    study, *counts = json.load(sys.stdin.buffer)
    print(estimate_checkpoint_bytes(StudyConfig.model_validate(study), *counts))
