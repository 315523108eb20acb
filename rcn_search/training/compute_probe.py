"""Choose precision, memory layout and number of threads by measuring how fast they train.

Candidates take turns, so that a load that comes and goes slows all of them down, and slow ones are dropped early. The
result is kept for later runs only if it was measured on a quiet machine: under load fewer threads look better.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import product

import psutil
import torch
from pydantic import ValidationError

from rcn_search import storage
from rcn_search.config.schema import TrainConfig, canonical_hash
from rcn_search.errors import RcnSearchError
from rcn_search.machine import cache_folder, num_cpus
from rcn_search.training.checkpoint import Checkpoint
from rcn_search.training.compute_settings import ComputeSettings
from rcn_search.training.distributed import DistributedContext
from rcn_search.training.probe_steps import StepTimer, step_timers
from rcn_search.training.recombination_probe import choose_forms

_NUM_ROUNDS = 4
_TIME_LIMIT_S = 1.4
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
_STEPS_WORTH_COMPILING = 200_000
"""Compiling takes half a minute or more, and may save a few tenths of a millisecond of a step (not measured yet)."""
_NUM_FORM_ROUNDS = 2
"""Steps with and without other forms of recombinations, in turns."""
_CACHE_VERSION = 4


def resolve_settings(
    config: TrainConfig,
    num_points: int,
    checkpoint: Checkpoint | None,
    distributed: DistributedContext,
    on_probe: Callable[[int], None] = lambda num_candidates: None,
    num_steps: int = 0,
) -> ComputeSettings:
    """Choose the compute options of a run, the same for all of its workers; ``on_probe`` as in `choose_settings`.

    A resumed run keeps its options. If the number of workers has changed, the number of threads is chosen anew.
    Several workers take eager steps: they exchange gradients during the backward pass, by code of the host.
    """
    if checkpoint:
        settings = checkpoint.info.state["settings"]
        if checkpoint.info.state.get("num_workers", 1) == distributed.world_size:
            return ComputeSettings.model_validate(settings)
        fixed = {name: settings[name] for name in ("precision", "channels_last")}
        config = config.model_copy(update={"compute": config.compute.model_copy(update=fixed)})
    if distributed.world_size > 1:
        config = config.model_copy(update={"compute": config.compute.model_copy(update={"step": "eager"})})
    chosen = choose_settings(config, num_points, on_probe, num_steps).model_dump_json() if distributed.is_first else ""
    return ComputeSettings.model_validate_json(distributed.broadcast_text(chosen))


def choose_settings(
    config: TrainConfig,
    num_points: int,
    on_probe: Callable[[int], None] = lambda num_candidates: None,
    num_steps: int = 0,
) -> ComputeSettings:
    """Replace every ``auto`` of ``config.compute`` by the value that trains fastest.

    Candidates are compared by a few timed steps, in about three seconds; ``on_probe`` is called with their number
    before. A result from a quiet machine is cached for each model, device and version of PyTorch. On a GPU, a run of
    very many steps (``num_steps``) tries a compiled step, too.

    Raises:
        RcnSearchError: The device, or a CUDA graph on it, cannot be used.
    """
    candidates = _candidates(config, num_steps)
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
            "recombination": config.compute.recombination,
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
    step_s = step_timers(config, num_points)
    fastest = _fastest(candidates, step_s, others)
    if config.compute.recombination == "auto":
        fastest = _with_forms(config, num_points, fastest, step_s)
    if others.share() <= _QUIET_LOAD:
        with suppress(OSError):
            storage.write_bytes(str(cache_folder("probe") / name), fastest.model_dump_json().encode())
    return fastest


def _candidates(config: TrainConfig, num_steps: int) -> list[ComputeSettings]:
    compute = config.compute
    device, available = resolve_device(compute.device), num_cpus()
    threads = [compute.threads] if compute.threads != "auto" else [available, available // 2][: min(available, 2)]
    if device.type != "cpu":
        threads = threads[:1]
    return [
        ComputeSettings(
            device=str(device),
            precision=precision,
            channels_last=channels_last,
            threads=num,
            step=step,
            recombination=() if compute.recombination == "auto" else compute.recombination,
        )
        for step, num, precision, channels_last in product(
            _kinds_of_step(config, device, num_steps),
            threads,
            ["bf16", "fp32"] if compute.precision == "auto" else [compute.precision],
            [True, False] if compute.channels_last == "auto" else [compute.channels_last],
        )
    ]


def _kinds_of_step(config: TrainConfig, device: torch.device, num_steps: int) -> list[str]:
    """List the kinds of step that are possible and may be worth their start."""
    kind = config.compute.step
    if config.model.name in ("custom", "timm"):
        return ["eager"]
    if kind == "graph" and device.type != "cuda":
        raise RcnSearchError(f"compute.step is graph, but {device} is no GPU of CUDA; set compute.step=eager")
    if kind != "auto":
        return [kind]
    if device.type != "cuda":
        return ["eager"]
    is_worth_compiling = num_steps >= _STEPS_WORTH_COMPILING and config.model.name != "denoiser"
    return ["eager", "graph", "compiled"] if is_worth_compiling else ["eager", "graph"]


def _with_forms(config: TrainConfig, num_points: int, settings: ComputeSettings, step_s: StepTimer) -> ComputeSettings:
    """Add the forms of recombinations that are faster alone, if whole training steps are faster with them, too."""
    threads_before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        forms = choose_forms(config, num_points, settings)
    finally:
        torch.set_num_threads(threads_before)
    if not forms:
        return settings
    changed, best_s = settings.model_copy(update={"recombination": forms}), dict[ComputeSettings, float]()
    for _ in range(_NUM_FORM_ROUNDS):
        for candidate in (settings, changed):
            best_s[candidate] = min(best_s.get(candidate, math.inf), step_s(candidate))
    return min(best_s, key=lambda candidate: best_s[candidate])


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
