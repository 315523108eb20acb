"""Training runs from elsewhere: checkpoints, configurations and histories."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rcn_search.config.schema import TrainConfig
from rcn_search.evaluation.figures.convergence import read_convergence_curves
from rcn_search.inference.predictor import load
from rcn_search.leaderboard.site.entries import learning_curve, read_histories
from rcn_search.models import build_model
from rcn_search.training.checkpoint import checkpoint_bytes, network_tensors
from rcn_search.training.compute_settings import ComputeSettings
from rcn_search.training.distributed import DistributedContext
from rcn_search.training.epoch_report import EpochReport
from rcn_search.training.run_folder import load_resumable_run
from rcn_search.training.run_state import RunState
from tests.fuzz.mutations import JSON, SAFETENSORS
from tests.fuzz.oracle import Target, Wrong
from tests.support.checkpoints import checkpoint_info, write_untrained

MODELS: tuple[dict[str, Any], ...] = (
    {"name": "rcn", "branches": 2, "channels": 4},
    {"name": "sumnet", "branches": 2, "channels": 4},
)


@cache
def config(number: int = 0) -> TrainConfig:
    """The configuration of a very small network."""
    return TrainConfig.model_validate(
        {"data": {"uri": "data"}, "model": MODELS[number], "compute": {"device": "cpu", "precision": "fp32"}}
    )


def _prepare_checkpoint(folder: Path) -> list[bytes]:
    return [Path(write_untrained(config(number), folder)).read_bytes() for number in range(len(MODELS))]


def _read_checkpoint(folder: Path, content: bytes) -> None:
    path = folder / "best.safetensors"
    path.write_bytes(content)
    predictor = load(str(path))
    for name, values in predictor.network.state_dict().items():
        if values.is_floating_point() and not torch.isfinite(values).all():
            raise Wrong(f"weights that are not finite: {name}")
    error_pct = predictor.info.val_error_pct
    if error_pct is not None and not 0 <= error_pct < float("inf"):
        raise Wrong(f"validation error {error_pct}")
    px = predictor.info.config.input.size_px
    faces = predictor.predict(np.zeros((px, px), np.uint8), np.array([[0, 0, px, px]], np.float32))
    if not np.isfinite(faces.points).all():
        raise Wrong("points that are not finite")


def _bombs() -> list[bytes]:
    """Small files that ask for large networks, or hold no tensors."""
    document = json.loads(checkpoint_info(config()).model_dump_json())
    contents = []
    for model in (
        {"name": "denoiser", "kernel_px": 79, "channels": 256},
        {"name": "rcn", "branches": 6, "channels": 4_000},
        {"name": "sumnet", "branches": 6, "channels": 100_000},
        {"name": "rcn", "branches": 10**9},
    ):
        document["config"]["model"] = model
        header = json.dumps({"__metadata__": {"rcn_search": json.dumps(document)}}).encode()
        contents.append(len(header).to_bytes(8, "little") + header)
    huge = json.dumps({"__metadata__": {"rcn_search": "[" * 100_000}}).encode()
    return [*contents, len(huge).to_bytes(8, "little") + huge, (2**63).to_bytes(8, "little") + b"{}", b"", b"\x00" * 8]


HISTORY = [
    {
        "epoch": epoch,
        "loss": 1.0,
        "val_error_pct": 20.0 - epoch,
        "best_error_pct": 20.0 - epoch,
        "train_s": 2.0,
        "val_s": 1.0,
        "images_per_s": 9.0,
        "lr": 0.1,
    }
    for epoch in range(1, 5)
]


def _prepare_config(folder: Path) -> list[bytes]:
    document = {"run_id": config().run_id, "config": config().model_dump(mode="json")}
    settings = ComputeSettings(device="cpu", precision="fp32", channels_last=False, threads=1)
    history = tuple(EpochReport.model_validate(report) for report in HISTORY)
    state = RunState(settings=settings, steps_done=3, partial_loss=0.0, partial_s=0.0, history=history)
    info = checkpoint_info(config()).model_copy(update={"kind": "run", "state": state.model_dump(mode="json")})
    tensors = network_tensors(build_model(config().model, num_points=5))
    (folder / "last.safetensors").write_bytes(checkpoint_bytes(info, tensors))
    (folder / "history.json").write_text(json.dumps(HISTORY))
    return [json.dumps(document).encode()]


def _read_config(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    read_histories([str(folder)])
    read_convergence_curves([str(folder)])
    load_resumable_run(str(folder), config(), "f", DistributedContext(), resume=True)


def _prepare_history(folder: Path) -> list[bytes]:
    (folder / "config.json").write_bytes(_prepare_config(folder)[0])
    return [json.dumps(HISTORY).encode()]


def _read_history(folder: Path, content: bytes) -> None:
    (folder / "history.json").write_bytes(content)
    for history in read_histories([str(folder)]).values():
        learning_curve(history)
    for curve in read_convergence_curves([str(folder)]):
        if not np.isfinite(curve.error_pct_e).all() or (curve.error_pct_e < 0).any():
            raise Wrong(f"errors of {curve.error_pct_e.tolist()[:5]}")
        if (np.diff(curve.epoch_e) <= 0).any() or (curve.epoch_e < 1).any():
            raise Wrong(f"epochs {curve.epoch_e.tolist()[:5]}")
        if not np.isfinite(curve.train_s_e).all() or (np.diff(curve.train_s_e) < 0).any():
            raise Wrong(f"times {curve.train_s_e.tolist()[:5]}")


def _read_last(folder: Path, content: bytes) -> None:
    (folder / "last.safetensors").write_bytes(content)
    load_resumable_run(str(folder), config(), "f", DistributedContext(), resume=True)


def _prepare_last(folder: Path) -> list[bytes]:
    (folder / "config.json").write_bytes(_prepare_config(folder)[0])
    return [(folder / "last.safetensors").read_bytes()]


TARGETS = (
    Target(
        name="checkpoint",
        prepare=_prepare_checkpoint,
        mutate=SAFETENSORS,
        read=_read_checkpoint,
        names=("best.safetensors",),
        hostile=_bombs,
    ),
    Target(
        name="checkpoint to resume",
        prepare=_prepare_last,
        mutate=SAFETENSORS,
        read=_read_last,
        names=("last.safetensors", "trained on data"),
    ),
    Target(
        name="config.json",
        prepare=_prepare_config,
        mutate=JSON,
        read=_read_config,
        names=("config.json", "holds run", "run "),
        hostile=lambda: [b"[]", b"[" * 100_000, b"null", b'"x"'],
    ),
    Target(
        name="history.json",
        prepare=_prepare_history,
        mutate=JSON,
        read=_read_history,
        names=("history.json", "no validated epoch", "run "),
    ),
)
