"""Checkpoints of networks that were never trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from rcn_search import storage
from rcn_search.config.schema import TrainConfig
from rcn_search.keypoints import keypoint_schema
from rcn_search.models import build_model
from rcn_search.training.checkpoint import CheckpointInfo, checkpoint_bytes, network_tensors


def checkpoint_info(config: TrainConfig, keypoints: str = "five", **changes: Any) -> CheckpointInfo:
    """Header of a checkpoint of ``config``."""
    fields = {"epoch": 2, "val_error_pct": 1.0, "train_s": 9.5, "data_fingerprint": "f", **changes}
    return CheckpointInfo(kind="weights", config=config, keypoints=keypoints, **fields)


def write_checkpoint(uri: str, info: CheckpointInfo, tensors: dict[str, Tensor]) -> None:
    """Write a checkpoint, replacing an older one."""
    storage.write_bytes(uri, checkpoint_bytes(info, tensors))


def write_untrained(config: TrainConfig, folder: Path, keypoints: str = "five", seed: int = 0) -> str:
    """Write ``best.safetensors`` with random weights; return its URI."""
    uri = str(folder / "best.safetensors")
    network = build_model(
        config.model,
        num_points=keypoint_schema(keypoints).num_points,
        input_px=config.input.size_px,
        in_channels=config.input.channels,
        seed=seed,
    )
    write_checkpoint(uri, checkpoint_info(config, keypoints), network_tensors(network))
    return uri
