"""Which precision, memory layout and number of threads train a model fastest on a device: measured once, and kept."""

from __future__ import annotations

import json
import os
import platform
import time
from itertools import product
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from rcn_search import storage
from rcn_search.config.schema import TrainConfig, canonical_hash
from rcn_search.errors import RcnSearchError
from rcn_search.models import build_model
from rcn_search.training.loss import training_loss
from rcn_search.training.optim import build_optimizers

_TIMED_STEPS = 2
_MAX_PROBE_BATCH = 8


class ComputeSettings(BaseModel):
    """Settled compute options of a run."""

    model_config = ConfigDict(frozen=True)
    device: str
    precision: str
    channels_last: bool
    threads: int

    def autocast(self) -> torch.autocast:
        """Context of a forward pass in training."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bf16")

    def to_memory_format(self, inputs: Tensor) -> Tensor:
        """Inputs of a network in its layout."""
        return inputs.contiguous(memory_format=self.memory_format) if inputs.dim() == 4 else inputs

    @property
    def memory_format(self) -> torch.memory_format:
        """Layout of weights and maps."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


def choose_settings(config: TrainConfig, num_points: int) -> ComputeSettings:
    """Settle every ``auto`` of ``config.compute``.

    The fastest of what the configuration leaves open, by a few timed training steps; the result is kept in the user's
    cache folder, per model, device and version of torch.

    Raises:
        RcnSearchError: The requested device cannot be used.
    """
    compute = config.compute
    device = resolve_device(compute.device)
    available = len(os.sched_getaffinity(0))
    threads = (
        [available, *([available // 2] if available > 1 else [])] if compute.threads == "auto" else [compute.threads]
    )
    if device.type != "cpu":
        threads = threads[:1]
    candidates = [
        ComputeSettings(device=str(device), precision=precision, channels_last=channels_last, threads=num)
        for num, precision, channels_last in product(
            threads,
            ["bf16", "fp32"] if compute.precision == "auto" else [compute.precision],
            [True, False] if compute.channels_last == "auto" else [compute.channels_last],
        )
    ]
    if len(candidates) == 1:
        return candidates[0]
    key = canonical_hash(
        {
            "model": config.model.model_dump(mode="json"),
            "loss": config.loss.model_dump(mode="json"),
            "batch": config.schedule.batch_size,
            "input": [config.input.size_px, config.input.channels],
            "points": num_points,
            "candidates": [candidate.model_dump() for candidate in candidates],
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
            "node": platform.node(),
            "torch": torch.__version__,
        }
    )
    cache = _cache_folder() / f"{key[:24]}.json"
    try:
        return ComputeSettings.model_validate_json(cache.read_bytes())
    except (FileNotFoundError, ValidationError):
        pass
    fastest = min(candidates, key=lambda candidate: _step_time_s(config, candidate, num_points))
    storage.write_bytes(str(cache), json.dumps(fastest.model_dump()).encode())
    return fastest


def _cache_folder() -> Path:
    root = os.environ.get("RCN_SEARCH_CACHE") or Path.home() / ".cache" / "rcn-search"
    return Path(root) / "probe"


def resolve_device(name: str) -> torch.device:
    """Resolve a device name; ``auto`` is a GPU if there is one, else the CPU.

    Raises:
        RcnSearchError: The device cannot be used.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise RcnSearchError(f"device {name!r} cannot be used here: {error}") from error
    return device


def _step_time_s(config: TrainConfig, settings: ComputeSettings, num_points: int) -> float:
    device = torch.device(settings.device)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    network = build_model(
        config.model, num_points=num_points, input_px=config.input.size_px, in_channels=config.input.channels
    )
    network = network.place(device, settings.memory_format)
    optimizers = build_optimizers(network, config.optimizer)
    batch, size_px = min(config.schedule.batch_size, _MAX_PROBE_BATCH), config.input.size_px
    inputs = torch.rand(batch, config.input.channels, size_px, size_px, device=device)
    if config.model.name == "denoiser":
        inputs = torch.randint(size_px, (batch, num_points, 2), device=device)
    points_bk2 = torch.rand(batch, num_points, 2, device=device)
    attributes: dict[str, Tensor] = {
        name: torch.zeros(batch, dtype=torch.long, device=device) for name in ("gender", "smile", "glasses", "pose")
    }
    fastest = float("inf")
    for step in range(_TIMED_STEPS + 1):
        started = time.perf_counter()
        with settings.autocast():
            output = network(settings.to_memory_format(inputs))
        training_loss(config, output, points_bk2, attributes).backward()
        for optimizer in optimizers:
            optimizer.step()
        network.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if step:  # the first step pays for set-up
            fastest = min(fastest, time.perf_counter() - started)
    torch.set_num_threads(threads_before)
    return fastest
