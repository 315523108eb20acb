"""Training steps of candidates of the compute probe, on random inputs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from rcn_search.config.schema import TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.models import build_model
from rcn_search.models.blocks import set_recombination_forms
from rcn_search.models.custom import CustomNetwork, check_output
from rcn_search.training.compute_settings import ComputeSettings
from rcn_search.training.loss import training_loss
from rcn_search.training.optim import build_optimizers, set_learning_rate
from rcn_search.training.static_step import NUM_WARM_UP_STEPS, StaticStep

_MAX_CPU_BATCH = 8
"""A step of the whole batch would take too long; the order is the same (docs/explanation/performance.md)."""

StepTimer = Callable[[ComputeSettings], float]
"""Takes a training step with the settings of a candidate; returns its time in seconds."""


def step_timers(config: TrainConfig, num_points: int) -> StepTimer:
    """Make the timer of candidates, which share a network for each memory layout and kind of step."""
    steps: dict[tuple[bool, str], Callable[[ComputeSettings], None]] = {}
    captured: set[ComputeSettings] = set()

    def step_s(settings: ComputeSettings) -> float:
        threads_before = torch.get_num_threads()
        torch.set_num_threads(settings.threads)
        try:
            kind = settings.channels_last, settings.step
            if kind not in steps:
                steps[kind] = _training_step(config, settings, num_points)
            if settings.step != "eager" and settings not in captured:
                steps[kind](settings)  # compiling and capturing are no part of a step
                captured.add(settings)
            started = time.perf_counter()
            steps[kind](settings)
            return time.perf_counter() - started
        except RcnSearchError:
            if settings.step == "eager" or config.compute.step != "auto":
                raise
            return math.inf  # this step cannot be captured here
        finally:
            torch.set_num_threads(threads_before)

    return step_s


def _training_step(
    config: TrainConfig, settings: ComputeSettings, num_points: int
) -> Callable[[ComputeSettings], None]:
    device, is_static = torch.device(settings.device), settings.step != "eager"
    size_px, channels = config.input.size_px, config.input.channels
    network = build_model(config.model, num_points=num_points, input_px=size_px, in_channels=channels)
    if isinstance(network, CustomNetwork):
        check_output(network)
    network = network.to_device(device, settings.memory_format)
    optimizers = build_optimizers(network, config.optimizer, on_device=is_static)
    set_learning_rate(optimizers, config.optimizer.lr)
    batch = config.schedule.batch_size
    if device.type == "cpu":
        batch = min(batch, _MAX_CPU_BATCH)
    inputs = torch.rand(batch, channels, size_px, size_px, device=device)
    if config.model.name == "denoiser":
        inputs = torch.randint(size_px, (batch, num_points, 2), device=device)
    points_bk2 = torch.rand(batch, num_points, 2, device=device)
    attributes: dict[str, Tensor] = {
        name: torch.zeros(batch, dtype=torch.long, device=device) for name in ("gender", "smile", "glasses", "pose")
    }

    def forward(settings: ComputeSettings) -> Tensor:
        with settings.autocast():
            output = network(settings.to_memory_format(inputs))
        return training_loss(config, output, points_bk2, attributes)

    learn = torch.compile(forward, dynamic=False) if settings.step == "compiled" else forward

    def step(settings: ComputeSettings) -> Tensor:
        set_recombination_forms(network, settings.recombination)
        loss = learn(settings)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        network.zero_grad()
        return loss.detach()

    return _warmed_up(step, device) if is_static else _waited_for(step, device)


def _waited_for(step: Callable[[ComputeSettings], object], device: torch.device) -> Callable[[ComputeSettings], None]:
    def run(settings: ComputeSettings) -> None:
        step(settings)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def _warmed_up(step: Callable[[ComputeSettings], Tensor], device: torch.device) -> Callable[[ComputeSettings], None]:
    """Make a step that runs as a graph, after the steps and the capture that a run would have once."""
    nothing = torch.zeros(1, device=device)
    static_steps: dict[ComputeSettings, StaticStep] = {}

    def run(settings: ComputeSettings) -> None:
        num_runs = 1
        if settings not in static_steps:
            static_steps[settings] = StaticStep(lambda rows_b, draws_bd: step(settings), device)
            num_runs += NUM_WARM_UP_STEPS
        for _ in range(num_runs):
            static_steps[settings](nothing, nothing)

    return _waited_for(run, device)
