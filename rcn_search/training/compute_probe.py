"""Choose precision, memory layout and number of threads by measuring how fast they train.

Candidates take turns, so that a load that comes and goes slows all of them down, and slow ones are dropped early. The
result is kept for later runs only if it was measured on a quiet machine: under load fewer threads look better.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import product

import psutil
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from rcn_search import storage
from rcn_search.config.schema import TrainConfig, canonical_hash
from rcn_search.errors import RcnSearchError
from rcn_search.machine import cache_folder, num_cpus
from rcn_search.models import build_model
from rcn_search.models.custom import CustomNetwork, check_output
from rcn_search.training.checkpoint import Checkpoint
from rcn_search.training.distributed import DistributedContext
from rcn_search.training.loss import training_loss
from rcn_search.training.optim import build_optimizers

_MAX_PROBE_BATCH = 8
_NUM_ROUNDS = 4
_TIME_LIMIT_S = 2.0
"""No round begins that would end after this time, but one is always measured."""
_HOPELESS, _HOPELESS_S = 3.0, 0.1
"""A candidate is dropped unmeasured if its first step took so many times as long as the fastest, and so much longer."""
_CLOSE = 1.3
"""More threads are tried for layouts that need at most so many times the time of the fastest with few."""
_SLOW = 1.5
"""A candidate is dropped after a round if its best time is so many times the best of all."""
_QUIET_LOAD = 0.1
"""Share of the CPU cores that other processes may use while a measurement is made that is kept."""
_BUSY_LOAD = 0.25
"""If others use more than this, threads would wait for each other, and a single step might take seconds."""
_CACHE_VERSION = 2


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
    def layout(self) -> tuple[str, bool]:
        """Precision, and whether channels come last: what candidates with other numbers of threads share."""
        return self.precision, self.channels_last

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory layout of weights and maps."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


def resolve_settings(
    config: TrainConfig,
    num_points: int,
    checkpoint: Checkpoint | None,
    distributed: DistributedContext,
    on_probe: Callable[[int], None] = lambda num_candidates: None,
) -> ComputeSettings:
    """Choose the compute options of a run, the same for all of its workers; ``on_probe`` as in `choose_settings`.

    A resumed run keeps its options. If the number of workers has changed, the number of threads is chosen anew.
    """
    if checkpoint:
        settings = checkpoint.info.state["settings"]
        if checkpoint.info.state.get("num_workers", 1) == distributed.world_size:
            return ComputeSettings.model_validate(settings)
        fixed = {name: settings[name] for name in ("precision", "channels_last")}
        config = config.model_copy(update={"compute": config.compute.model_copy(update=fixed)})
    chosen = choose_settings(config, num_points, on_probe).model_dump_json() if distributed.is_first else ""
    return ComputeSettings.model_validate_json(distributed.broadcast_text(chosen))


def choose_settings(
    config: TrainConfig, num_points: int, on_probe: Callable[[int], None] = lambda num_candidates: None
) -> ComputeSettings:
    """Replace every ``auto`` of ``config.compute`` by the value that trains fastest.

    Candidates are compared by a few timed steps, in about three seconds; ``on_probe`` is called with their number
    before. A result from a quiet machine is cached for each model, device and version of PyTorch.
    """
    candidates = _candidates(config)
    if len(candidates) == 1:
        return candidates[0]
    device = candidates[0].device
    key = canonical_hash(
        {
            "version": _CACHE_VERSION,
            "model": config.model.model_dump(mode="json"),
            "loss": config.loss.model_dump(mode="json"),
            "batch": config.schedule.batch_size,
            "input": [config.input.size_px, config.input.channels],
            "points": num_points,
            "candidates": [candidate.model_dump() for candidate in candidates],
            "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor(),
            "node": platform.node(),
            "torch": torch.__version__,
        }
    )
    name = f"{key[:24]}.json"
    with suppress(OSError, ValidationError):
        return ComputeSettings.model_validate_json((cache_folder("probe") / name).read_bytes())
    on_probe(len(candidates))
    others = _OtherLoad()
    fastest = _fastest(candidates, _step_timers(config, num_points), others)
    if others.share() <= _QUIET_LOAD:
        with suppress(OSError):
            storage.write_bytes(str(cache_folder("probe") / name), fastest.model_dump_json().encode())
    return fastest


def _candidates(config: TrainConfig) -> list[ComputeSettings]:
    compute = config.compute
    device, available = resolve_device(compute.device), num_cpus()
    threads = [compute.threads] if compute.threads != "auto" else [available, available // 2][: min(available, 2)]
    if device.type != "cpu":
        threads = threads[:1]
    return [
        ComputeSettings(device=str(device), precision=precision, channels_last=channels_last, threads=num)
        for num, precision, channels_last in product(
            threads,
            ["bf16", "fp32"] if compute.precision == "auto" else [compute.precision],
            [True, False] if compute.channels_last == "auto" else [compute.channels_last],
        )
    ]


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


StepTimer = Callable[[ComputeSettings], float]
"""Takes a training step with the settings of a candidate; returns its time in seconds."""


def _fastest(candidates: Sequence[ComputeSettings], step_s: StepTimer, others: _OtherLoad) -> ComputeSettings:
    """Compare candidates in rounds of one step each; more threads only where there is hope, and cores are free."""
    started = time.perf_counter()
    with_few = [candidate for candidate in candidates if candidate.threads == min(each.threads for each in candidates)]
    step_s(with_few[0])  # what a process initializes only once counts for nobody
    first_s = {candidate: step_s(candidate) for candidate in with_few}
    limit_s = max(_HOPELESS * min(first_s.values()), min(first_s.values()) + _HOPELESS_S)
    best_s = {candidate: step_s(candidate) for candidate, spent_s in first_s.items() if spent_s <= limit_s}
    close = {candidate.layout for candidate, spent_s in best_s.items() if spent_s <= _CLOSE * min(best_s.values())}
    if others.share() <= _BUSY_LOAD:
        with_more = [candidate for candidate in candidates if candidate not in first_s and candidate.layout in close]
        best_s |= {candidate: step_s(candidate) for candidate in with_more}
    for _ in range(_NUM_ROUNDS - 1):
        limit_s = _SLOW * min(best_s.values())
        best_s = {candidate: spent_s for candidate, spent_s in best_s.items() if spent_s <= limit_s}
        if len(best_s) == 1 or time.perf_counter() - started + sum(best_s.values()) > _TIME_LIMIT_S:
            break
        for candidate in best_s:
            best_s[candidate] = min(best_s[candidate], step_s(candidate))
    return min(best_s, key=lambda candidate: best_s[candidate])


def _step_timers(config: TrainConfig, num_points: int) -> StepTimer:
    """Make the timer of candidates, which share a network for each memory layout."""
    steps: dict[bool, Callable[[ComputeSettings], None]] = {}

    def step_s(settings: ComputeSettings) -> float:
        threads_before = torch.get_num_threads()
        torch.set_num_threads(settings.threads)
        try:
            if settings.channels_last not in steps:
                steps[settings.channels_last] = _training_step(config, settings, num_points)
            started = time.perf_counter()
            steps[settings.channels_last](settings)
            return time.perf_counter() - started
        finally:
            torch.set_num_threads(threads_before)

    return step_s


def _training_step(
    config: TrainConfig, settings: ComputeSettings, num_points: int
) -> Callable[[ComputeSettings], None]:
    device = torch.device(settings.device)
    size_px, channels = config.input.size_px, config.input.channels
    network = build_model(config.model, num_points=num_points, input_px=size_px, in_channels=channels)
    if isinstance(network, CustomNetwork):
        check_output(network)
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

    def step(settings: ComputeSettings) -> None:
        with settings.autocast():
            output = network(settings.to_memory_format(inputs))
        training_loss(config, output, points_bk2, attributes).backward()
        for optimizer in optimizers:
            optimizer.step()
        network.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


class _OtherLoad:
    """CPU time that others than this process use from its creation on, on the cores that it may use."""

    def __init__(self) -> None:
        self._started, self._busy_s, self._own_s = time.perf_counter(), _busy_s(), time.process_time()

    def share(self) -> float:
        """Return it as a share of the time of these cores."""
        available_s = (time.perf_counter() - self._started) * num_cpus()
        return (_busy_s() - self._busy_s - (time.process_time() - self._own_s)) / available_s


def _busy_s() -> float:
    """CPU time that all processes have used on the cores of this one, in seconds."""
    cores = psutil.cpu_times(percpu=True)
    usable = psutil.Process().cpu_affinity() if hasattr(psutil.Process, "cpu_affinity") else range(len(cores))
    not_busy = ("idle", "iowait", "guest", "guest_nice")  # time of guests is part of the other fields
    return sum(sum(cores[core]) - sum(getattr(cores[core], name, 0.0) for name in not_busy) for core in usable)
