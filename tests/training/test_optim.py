from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rcn_search.config.schema import OptimizerConfig, RcnConfig, ScheduleConfig, SumNetConfig, TcdcnConfig
from rcn_search.models import build_model
from rcn_search.models.blocks import Network
from rcn_search.training.checkpoint import optimizer_tensors
from rcn_search.training.optim import (
    MUON_SMALLEST_SIDE,
    MovingAverage,
    build_optimizers,
    learning_rate,
    set_learning_rate,
)
from tests.support.training_steps import allow_capturable_adadelta

MODELS = {
    "rcn": RcnConfig(branches=2, channels=16),
    "sumnet": SumNetConfig(branches=2, channels=16, fusion_weights="pixel"),
    "tcdcn": TcdcnConfig(auxiliary=True),
}


def adadelta(**options: float) -> OptimizerConfig:
    return OptimizerConfig(name="adadelta", lr=1.0, weight_decay=0.0, **options)


# --- learning rate ----------------------------------------------------------------------------------------------------


def test_learning_rate_one_cycle_rises_and_falls_to_zero() -> None:
    options, schedule = OptimizerConfig(lr=0.5), ScheduleConfig(warmup_fraction=0.1)
    curve = [learning_rate(step, 1_000, options, schedule) for step in range(1_000)]
    assert curve[0] == 0.5 / 25
    assert curve[50] == pytest.approx(0.5 * (1 + 1 / 25) / 2)  # half of the linear warm-up
    assert curve[100] == 0.5
    assert curve[550] == pytest.approx(0.25)  # half of the cosine
    assert 0 < curve[-1] < 1e-5
    assert curve[:101] == sorted(curve[:101])
    assert curve[100:] == sorted(curve[100:], reverse=True)


def test_learning_rate_of_short_runs() -> None:
    options = OptimizerConfig(lr=0.5)
    assert learning_rate(0, 10, options, ScheduleConfig(warmup_fraction=0.0)) == 0.5
    assert learning_rate(0, 1, options, ScheduleConfig(warmup_fraction=0.1)) == 0.5
    assert learning_rate(0, 1, options, ScheduleConfig(warmup_fraction=0.9)) == 0.5 / 25


def test_learning_rate_constant() -> None:
    options, schedule = OptimizerConfig(lr=0.5), ScheduleConfig(lr_schedule="constant", warmup_fraction=0.5)
    assert {learning_rate(step, 100, options, schedule) for step in range(100)} == {0.5}


# --- optimizers -------------------------------------------------------------------------------------------------------


class Scalar(Network):
    """One weight and one bias in the encoder, and one of each outside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(1, 1, 1)
        self.head = nn.Conv2d(1, 1, 1)
        self.double()


def test_adadelta_equals_the_paper_on_a_scalar() -> None:
    """A coefficient c of squared weights adds 2 c w to the gradient; steps are those of the paper's code."""
    network = Scalar()
    (optimizer,) = build_optimizers(network, adadelta(l2_encoder=0.01, l2_branches=0.02))
    coefficients = {"trunk.weight": 0.01, "trunk.bias": 0.0, "head.weight": 0.02, "head.bias": 0.0}
    gradients = [0.5, -2.0, 1e-3, 0.0]
    expected = {}
    for name, parameter in network.named_parameters():
        weight, square_g, square_step = parameter.item(), 0.0, 0.0
        for gradient in gradients:
            full = gradient + 2 * coefficients[name] * weight
            square_g = 0.95 * square_g + 0.05 * full**2
            step = -math.sqrt(square_step + 1e-8) / math.sqrt(square_g + 1e-8) * full
            square_step = 0.95 * square_step + 0.05 * step**2
            weight += step
        expected[name] = weight
    for gradient in gradients:
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()
    for name, parameter in network.named_parameters():
        assert parameter.item() == pytest.approx(expected[name], rel=1e-12), name


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(
    "options",
    [
        OptimizerConfig(name="muon", lr=0.1, weight_decay=0.5),
        OptimizerConfig(name="adamw", lr=0.1, weight_decay=0.5),
        adadelta(l2_encoder=0.5, l2_branches=0.5),
    ],
    ids=lambda options: options.name,
)
def test_build_optimizers_decays_weights_but_not_biases(kind: str, options: OptimizerConfig) -> None:
    network = build_model(MODELS[kind], num_points=5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
    optimizers = build_optimizers(network, options)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
    decayed = {name: bool((parameter < 1).all()) for name, parameter in network.named_parameters()}
    # SumNet's fusion weights are named `weights`; they are not decayed.
    assert decayed == {name: name.endswith(".weight") for name in decayed}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", ["muon", "adamw", "adadelta"])
def test_build_optimizers_covers_each_parameter_once(kind: str, name: Any) -> None:
    network = build_model(MODELS[kind], num_points=5)
    options = adadelta() if name == "adadelta" else OptimizerConfig(name=name)
    groups = [group for optimizer in build_optimizers(network, options) for group in optimizer.param_groups]
    # Muon's parameters are views, so they are compared by their memory.
    optimized = [parameter.data_ptr() for group in groups for parameter in group["params"]]
    assert sorted(optimized) == sorted(parameter.data_ptr() for parameter in network.parameters())


def step_with_muon(memory_format: torch.memory_format) -> tuple[Network, dict[str, Tensor]]:
    """A network after one step with random gradients, and the change of each weight."""
    network = build_model(MODELS["rcn"], num_points=5, seed=3).to_device("cpu", memory_format)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizers = build_optimizers(network, OptimizerConfig(name="muon", lr=0.1, weight_decay=0.0))
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape, generator=generator))
    for optimizer in optimizers:
        optimizer.step()
    return network, {name: parameter.detach() - before[name] for name, parameter in network.named_parameters()}


def is_matrix(weight: Tensor) -> bool:
    return weight.ndim == 4 and min(len(weight), weight[0].numel()) >= MUON_SMALLEST_SIDE


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_muon_steps_are_orthogonal_matrices(memory_format: torch.memory_format) -> None:
    """Newton-Schulz makes all singular values approximately one."""
    network, moves = step_with_muon(memory_format)
    matrices = {name: move for name, move in moves.items() if is_matrix(move)}
    assert len(matrices) == 4
    for name, move in matrices.items():
        assert network.get_parameter(name).is_contiguous(memory_format=memory_format)
        size = 0.1 * 0.2 * math.sqrt(max(len(move), move[0].numel()))  # factor of "match_rms_adamw"
        spectrum = torch.linalg.svdvals(move.flatten(1)) / size
        assert 0.6 < spectrum.min() < spectrum.max() < 1.3


def test_muon_steps_do_not_depend_on_the_memory_format() -> None:
    (_, nchw), (_, nhwc) = step_with_muon(torch.contiguous_format), step_with_muon(torch.channels_last)
    for name, move in nchw.items():
        # Newton-Schulz computes in bf16, so the order of columns changes the third digit.
        difference = (move - nhwc[name]).norm() / move.norm()
        assert difference < (0.02 if is_matrix(move) else 1e-5), name


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize(
    "options",
    [OptimizerConfig(name="muon", lr=0.1, weight_decay=0.5), OptimizerConfig(name="adamw", lr=0.1), adadelta()],
    ids=lambda options: options.name,
)
def test_optimizers_with_rates_on_the_device_take_the_same_steps(
    monkeypatch: pytest.MonkeyPatch, options: OptimizerConfig, memory_format: torch.memory_format
) -> None:
    allow_capturable_adadelta(monkeypatch)
    networks = [build_model(MODELS["rcn"], num_points=5, seed=3).to_device("cpu", memory_format) for _ in range(2)]
    scales = {name: 0.5 for name, _ in networks[0].named_parameters() if name.startswith("trunk")}
    optimizers = [build_optimizers(each, options, scales, on_device=bool(i)) for i, each in enumerate(networks)]
    for step in range(3):
        for network, its_optimizers in zip(networks, optimizers, strict=True):
            generator = torch.Generator().manual_seed(step)
            for parameter in network.parameters():
                parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape, generator=generator))
            set_learning_rate(its_optimizers, options.lr / (step + 1))
            for optimizer in its_optimizers:
                optimizer.step()
    for usual, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(other, usual, rtol=1e-5, atol=1e-7)
    states = [optimizer_tensors(its_optimizers) for its_optimizers in optimizers]
    assert states[0].keys() == states[1].keys(), "a run can be resumed with another kind of step"


# --- moving average ---------------------------------------------------------------------------------------------------


def test_moving_average_is_a_mean_at_first_then_exponential() -> None:
    network = Scalar()
    average = MovingAverage(network, 0.9)
    values = [network.trunk.weight.item()]
    for step in range(8):
        with torch.no_grad():
            network.trunk.weight.fill_(float(step**2))
        values.append(float(step**2))
        average.begin_step(step)
        average.update(network)
    assert average.weights[0].item() == pytest.approx(sum(values) / 9)
    with torch.no_grad():
        network.trunk.weight.fill_(-50.0)
    expected = 0.9 * average.weights[0].item() - 0.1 * 50
    average.begin_step(10_000)
    average.update(network)
    assert average.weights[0].item() == pytest.approx(expected)


def test_moving_average_is_a_copy_of_the_weights() -> None:
    network = build_model(MODELS["rcn"], num_points=5)
    start = copy.deepcopy(network)
    average = MovingAverage(network, 0.5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    for weight, parameter in zip(average.weights, start.parameters(), strict=True):
        torch.testing.assert_close(weight, parameter.detach())


def test_moving_average_with_its_fraction_on_the_device_is_the_same() -> None:
    network = build_model(MODELS["rcn"], num_points=5)
    usual, other = MovingAverage(network, 0.5), MovingAverage(network, 0.5, on_device=True)
    for step in range(3):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(step + 1.0)
        for average in (usual, other):
            average.begin_step(step)
            average.update(network)
    for mine, its in zip(usual.weights, other.weights, strict=True):
        torch.testing.assert_close(mine, its)
