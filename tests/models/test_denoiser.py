from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from rcn_search.config.schema import DenoiserConfig, OptimizerConfig
from rcn_search.models import build_model
from rcn_search.models.decode import argmax_cells
from rcn_search.models.denoiser import DIRECT_BELOW_PX, Denoiser, one_hot_maps
from rcn_search.models.fft_conv import Phases, ShiftedKernels, convolve
from rcn_search.training.optim import build_optimizers

SIZES = ((24, 13, 6, 4), (24, 11, 4, 3), (21, 13, 5, 3), (20, 45, 4, 3))
"""Side, kernel, channels, points: even and odd sides and periods, kernels smaller and larger than the map."""


def tiny(input_px: int, kernel_px: int, channels: int, num_points: int) -> Denoiser:
    """Build a denoiser with biases, as after some training; without, many values are exactly 0, the edge of ReLU."""
    config = DenoiserConfig(kernel_px=kernel_px, channels=channels, num_corrupted_points=1)
    model = build_model(config, num_points=num_points, input_px=input_px)
    assert isinstance(model, Denoiser)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for conv in model.trunk:
            conv.bias.add_(0.2 * torch.rand(conv.bias.shape, generator=generator))
    return model


def cells_of(num_points: int, size_px: int, batch: int = 2) -> Tensor:
    """Choose all corners, an empty map, and random cells."""
    cells = torch.randint(0, size_px, (batch, num_points, 2), generator=torch.Generator().manual_seed(1))
    last = size_px - 1
    cells[0, :3] = torch.tensor([[0, 0], [last, 0], [0, last]])
    cells[1, :2] = torch.tensor([[last, last], [-1, -1]])
    return cells


def relative(value: Tensor, truth: Tensor) -> float:
    return float(((value - truth).abs().max() / truth.abs().max()).detach())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_denoiser_spectral_equals_direct(size: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    model, cells = tiny(*size).to(dtype), cells_of(size[3], size[0])
    weights = torch.randn(len(cells), size[3], size[0], size[0], generator=torch.Generator().manual_seed(0)).to(dtype)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    direct, spectral = model.direct(cells), model.spectral(cells)
    assert spectral.dtype == dtype
    assert spectral.is_contiguous()
    assert relative(spectral, direct) < tolerance
    parameters = dict(model.named_parameters())
    truth = torch.autograd.grad((direct * weights).sum(), parameters.values())
    for name, gradient, expected in zip(
        parameters, torch.autograd.grad((spectral * weights).sum(), parameters.values()), truth, strict=True
    ):
        assert relative(gradient, expected) < tolerance, name


def test_denoiser_spectral_equals_direct_in_the_paper_size() -> None:
    model, cells = tiny(80, 45, 4, 3), cells_of(3, 80)
    with torch.no_grad():
        assert relative(model.spectral(cells), model.direct(cells)) < 1e-5


@pytest.mark.parametrize("size", SIZES[:3], ids=str)
def test_convolve_equals_torch(size: tuple[int, int, int, int]) -> None:
    size_px, kernel_px, channels, num_points = size
    generator = torch.Generator().manual_seed(0)
    map_bihw = torch.randn(2, num_points, size_px, size_px, dtype=torch.float64, generator=generator)
    weight = torch.randn(channels, num_points, kernel_px, kernel_px, dtype=torch.float64, generator=generator)
    grad = torch.randn(2, channels, size_px, size_px, dtype=torch.float64, generator=generator)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        leaves = [map_bihw.clone().requires_grad_(), weight.contiguous(memory_format=memory_format).requires_grad_()]
        expected = F.conv2d(*leaves, padding=kernel_px // 2)
        result = convolve(leaves[0].permute(2, 3, 0, 1), leaves[1]).permute(2, 3, 0, 1)
        assert relative(result, expected) < 1e-12
        expected_grads = torch.autograd.grad(expected, leaves, grad)
        for value, truth in zip(torch.autograd.grad(result, leaves, grad), expected_grads, strict=True):
            assert relative(value, truth) < 1e-12


@pytest.mark.parametrize("form", [ShiftedKernels, Phases])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_convolve_one_hot_equals_convolution_of_maps(
    size: tuple[int, int, int, int], form: type[torch.autograd.Function]
) -> None:
    size_px, kernel_px, channels, num_points = size
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(channels, num_points, kernel_px, kernel_px, dtype=torch.float64, generator=generator)
    grad = torch.randn(2, channels, size_px, size_px, dtype=torch.float64, generator=generator)
    cells = cells_of(num_points, size_px)
    weight.requires_grad_()
    expected = F.conv2d(one_hot_maps(cells, size_px).double(), weight, padding=kernel_px // 2)
    result = form.apply(cells, weight, size_px)
    assert result.is_contiguous()
    assert relative(result.permute(2, 3, 0, 1), expected) < 1e-12
    (truth,) = torch.autograd.grad(expected, weight, grad)
    (value,) = torch.autograd.grad(result.permute(2, 3, 0, 1), weight, grad)
    assert relative(value, truth) < 1e-12


def plain_forward(model: Denoiser, cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the definition, layer by layer and pixel by pixel."""

    def conv(maps: NDArray[np.float64], weight: Tensor, bias: Tensor) -> NDArray[np.float64]:
        kernel = weight.detach().double().numpy()
        reach = kernel.shape[-1] // 2
        padded = np.pad(maps, ((0, 0), (reach, reach), (reach, reach)))
        out = np.zeros((len(kernel), *maps.shape[1:]))
        for row, column in np.ndindex(*maps.shape[1:]):
            window = padded[:, row : row + 2 * reach + 1, column : column + 2 * reach + 1]
            out[:, row, column] = (kernel * window).sum((1, 2, 3)) + bias.detach().double().numpy()
        return out

    results = []
    for face in cells:
        maps = np.zeros((len(face), model.input_px, model.input_px))
        for point, (column, row) in enumerate(face):
            if column >= 0:
                maps[point, row, column] = 1
        for index, layer in enumerate(model.trunk):
            maps = conv(maps, layer.weight, layer.bias)
            if index < 3:
                maps = np.maximum(maps, 0)
        results.append(maps)
    return np.stack(results)


@pytest.mark.parametrize("kernel_px", [3, 23])
def test_denoiser_forward_equals_a_plain_implementation(kernel_px: int) -> None:
    assert (kernel_px < DIRECT_BELOW_PX) == (kernel_px == 3)
    model, cells = tiny(24, kernel_px, 4, 3), cells_of(3, 24)
    logits = model(cells).detach().numpy()
    np.testing.assert_allclose(logits, plain_forward(model, cells.numpy()), rtol=0, atol=1e-5)


def test_denoiser_parameter_count_equals_the_paper() -> None:
    with torch.device("meta"):
        model = Denoiser(DenoiserConfig(), 68, 80)
    assert [sum(p.numel() for p in conv.parameters()) for conv in model.trunk] == [8_812_864, *[8_294_464] * 2, 4_420]
    assert sum(p.numel() for p in model.parameters()) == 25_406_212
    trunk, branches = model.l2_groups()
    assert len(trunk) == 4
    assert not branches


def test_denoiser_initialization_equals_the_reference() -> None:
    model = build_model(DenoiserConfig(kernel_px=9, channels=8), num_points=4)
    bound = math.sqrt(6 / (4 * 81 + 8 * 81 // 4))
    largest = float(model.trunk[0].weight.detach().abs().max())
    assert 0.99 * bound < largest <= bound
    assert not any(conv.bias.any() for conv in model.trunk)


def test_denoiser_spectral_ignores_autocast() -> None:
    model, cells = tiny(24, 21, 4, 3), cells_of(3, 24)
    plain = model(cells)
    plain.square().sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(cells)
    logits.square().sum().backward()
    assert torch.equal(logits, plain)
    assert all(torch.equal(p.grad, grad) for p, grad in zip(model.parameters(), gradients, strict=True))


def test_denoiser_output_does_not_depend_on_the_batch() -> None:
    model, cells = tiny(24, 21, 4, 3).double(), cells_of(3, 24, batch=3)
    torch.testing.assert_close(model(cells)[1:2], model(cells[1:2]), rtol=0, atol=1e-12)


def test_denoiser_trains_after_inference() -> None:
    model, cells = tiny(24, 21, 4, 3), cells_of(3, 24)
    with torch.inference_mode():
        before = model(cells)
    for options in (
        OptimizerConfig(name="adadelta", lr=1.0, weight_decay=0, l2_encoder=1e-6),
        OptimizerConfig(name="muon"),
    ):
        optimizers = build_optimizers(model, options)
        model(cells).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad()
    assert not torch.equal(model(cells), before)


def test_denoiser_ignores_points_without_a_cell() -> None:
    model = tiny(40, 45, 4, 3)
    cells = torch.tensor([[[-1, -1], [20, 30], [-1, -1]]])
    with torch.no_grad():
        logits = model(cells)
        for point in (0, 2):
            model.trunk[0].weight[:, point].zero_()
        torch.testing.assert_close(model(cells), logits, rtol=0, atol=1e-6)
    assert one_hot_maps(cells, 40).sum((2, 3)).tolist() == [[0, 1, 0]]
    assert argmax_cells(one_hot_maps(cells, 40))[0, 1].tolist() == [20, 30]
