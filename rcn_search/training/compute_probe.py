"""Choose precision, memory layout and number of threads by measuring how fast they train; results are cached."""

from __future__ import annotations

import json
import platform
import time
from contextlib import suppress
from itertools import product

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from rcn_search import storage
from rcn_search.config.schema import TrainConfig, canonical_hash
from rcn_search.errors import RcnSearchError
from rcn_search.machine import cache_folder, num_cpus
from rcn_search.models import build_model
from rcn_search.training.checkpoint import Checkpoint
from rcn_search.training.distributed import DistributedContext
from rcn_search.training.loss import training_loss
from rcn_search.training.optim import build_optimizers

_TIMED_STEPS = 2
_MAX_PROBE_BATCH = 8


class ComputeSettings(BaseModel):
    """Compute options of a run, without any ``auto``."""

    model_config = ConfigDict(frozen=True)
    device: str
    precision: str
    channels_last: bool
    threads: int

    def autocast(self) -> torch.autocast:
        """Create the autocast context for a forward pass in training."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bf16")

    def to_memory_format(self, inputs: Tensor) -> Tensor:
        """Convert network inputs to the memory layout of the network."""
        return inputs.contiguous(memory_format=self.memory_format) if inputs.dim() == 4 else inputs

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory layout of weights and maps."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


def resolve_settings(
    config: TrainConfig, num_points: int, checkpoint: Checkpoint | None, distributed: DistributedContext
) -> ComputeSettings:
    """Choose the compute options of a run, the same for all of its workers.

    A resumed run keeps its options. If the number of workers has changed, the number of threads is chosen anew.
    """
    if checkpoint:
        settings = checkpoint.info.state["settings"]
        if checkpoint.info.state.get("num_workers", 1) == distributed.world_size:
            return ComputeSettings.model_validate(settings)
        fixed = {name: settings[name] for name in ("precision", "channels_last")}
        config = config.model_copy(update={"compute": config.compute.model_copy(update=fixed)})
    chosen = choose_settings(config, num_points).model_dump_json() if distributed.is_first else ""
    return ComputeSettings.model_validate_json(distributed.broadcast_text(chosen))


def choose_settings(config: TrainConfig, num_points: int) -> ComputeSettings:
    """Replace every ``auto`` of ``config.compute`` by the value that trains fastest.

    Candidates are compared by a few timed steps; the result is cached for each model, device and version of PyTorch.
    """
    compute = config.compute
    device, available = resolve_device(compute.device), num_cpus()
    threads = [compute.threads] if compute.threads != "auto" else [available, available // 2][: min(available, 2)]
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
    cache = cache_folder("probe") / f"{key[:24]}.json"
    with suppress(FileNotFoundError, ValidationError):
        return ComputeSettings.model_validate_json(cache.read_bytes())
    fastest = min(candidates, key=lambda candidate: _step_time_s(config, candidate, num_points))
    storage.write_bytes(str(cache), json.dumps(fastest.model_dump()).encode())
    return fastest


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
    device, threads_before = torch.device(settings.device), torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    size_px, channels = config.input.size_px, config.input.channels
    network = build_model(config.model, num_points=num_points, input_px=size_px, in_channels=channels)
    network = network.to_device(device, settings.memory_format)
    optimizers = build_optimizers(network, config.optimizer)
    batch = min(config.schedule.batch_size, _MAX_PROBE_BATCH)
    inputs = torch.rand(batch, channels, size_px, size_px, device=device)
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
        if step:  # the first step includes initialization
            fastest = min(fastest, time.perf_counter() - started)
    torch.set_num_threads(threads_before)
    return fastest
