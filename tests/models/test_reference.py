"""Compare RCN and SumNet with forward passes in NumPy, written from the paper's layer lists.

They use the package only to build the network: convolutions, pooling and upsampling are implemented here as loops, and
weights are used in the order of the layer lists. This verifies the topology, not only the number of parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rcn_search.config.schema import RcnConfig, SumNetConfig
from rcn_search.models import build_model
from rcn_search.models.blocks import Network

Array = NDArray[np.float64]
Weights = Iterator[tuple[Array, Array]]
SIDES_PX = (40, 20, 10, 5, 2, 1)
CONVS = {  # number of convolutions of each branch, finest first; the finest has another one, to the keypoints
    "mtfl": (1, 2, 2, 1, 2, 2, 2),
    "300w": (3, 2, 2, 1, 2, 2, 2),
}


def conv(maps: Array, weights: Weights, kernel: int) -> Array:
    """Convolve maps (b, c, h, w) with the next weights, which must have this kernel; zeros beyond the border."""
    weight, bias = next(weights)
    assert weight.shape[1:] == (maps.shape[1], kernel, kernel)
    half, side = kernel // 2, maps.shape[-1]
    padded = np.pad(maps, ((0, 0), (0, 0), (half, half), (half, half)))
    out = np.zeros((len(maps), len(weight), side, side)) + bias[:, None, None]
    for row in range(kernel):
        for column in range(kernel):
            window = padded[:, :, row : row + side, column : column + side]
            out += np.einsum("oi,bihw->bohw", weight[:, :, row, column], window)
    return out


def relu(maps: Array) -> Array:
    return np.maximum(maps, 0)


def windows(side: int) -> list[slice]:
    """List 2x2 windows side by side or, for an odd side, 3x3 windows that overlap by one pixel."""
    return [slice(2 * index, 2 * index + 2 + side % 2) for index in range(side // 2)]


def pool(maps: Array) -> Array:
    out = np.zeros((*maps.shape[:2], maps.shape[2] // 2, maps.shape[3] // 2))
    for i, rows in enumerate(windows(maps.shape[2])):
        for j, columns in enumerate(windows(maps.shape[3])):
            out[:, :, i, j] = maps[:, :, rows, columns].max(axis=(2, 3))
    return out


def only_maxima(maps: Array) -> Array:
    """Set all values to zero that are not the maximum of a pooling window."""
    out = np.zeros_like(maps)
    for rows in windows(maps.shape[2]):
        for columns in windows(maps.shape[3]):
            window = maps[:, :, rows, columns]
            is_maximum = window == window.max(axis=(2, 3), keepdims=True)
            out[:, :, rows, columns][is_maximum] = window[is_maximum]
    return out


def tile(maps: Array, side: int) -> Array:
    repeats = math.ceil(side / maps.shape[-1])
    return maps.repeat(repeats, axis=2).repeat(repeats, axis=3)[:, :, :side, :side]


def bilinear(maps: Array, side: int) -> Array:
    """Interpolate each pixel from the four around its center; beyond the outer centers, values are constant."""
    coarse = maps.shape[-1]
    along = np.zeros((side, coarse))
    for i in range(side):
        center = min(max((i + 0.5) * coarse / side - 0.5, 0), coarse - 1)
        lower = min(int(center), coarse - 1)
        along[i, lower] += 1 - (center - lower)
        along[i, min(lower + 1, coarse - 1)] += center - lower
    return np.einsum("ih,bchw,jw->bcij", along, maps, along)


def learned(maps: Array, side: int, kernel: Array) -> Array:
    """Add for each coarse pixel its multiple of the kernel, around the first pixel of its tile."""
    coarse = maps.shape[-1]
    factor = math.ceil(side / coarse)
    assert kernel.shape == (2 * factor - 1, 2 * factor - 1)
    reach = factor - 1
    out = np.zeros((*maps.shape[:2], factor * coarse + 2 * reach, factor * coarse + 2 * reach))
    for i in range(coarse):
        for j in range(coarse):
            rows = slice(factor * i, factor * i + 2 * reach + 1)
            columns = slice(factor * j, factor * j + 2 * reach + 1)
            out[:, :, rows, columns] += maps[:, :, i, j, None, None] * kernel
    return out[:, :, reach : reach + side, reach : reach + side]


def encoder(image: Array, weights: Weights, num_maps: int) -> list[Array]:
    """Compute the encoder maps, finest first."""
    maps = [relu(conv(image, weights, 3))]
    for side in SIDES_PX[1:num_maps]:
        maps.append(relu(conv(pool(maps[-1]), weights, 1 if side == 1 else 3)))
    return maps


def numpy_rcn(image: Array, weights: Weights, kernels: Iterator[Array], config: RcnConfig) -> Array:
    """Compute an RCN layer by layer."""
    mask = config.mask or "1" * config.branches
    levels = [level for level in range(config.branches) if mask[::-1][level] == "1"][::-1]
    encoded = encoder(image, weights, levels[0] + 1)
    first_kernel, further_kernel = {"mtfl": (3, 3), "300w": (5, 1)}[config.layer_preset]

    def up(maps: Array, side: int, kernel: Array | None) -> Array:
        if config.upsampling == "learned":
            assert kernel is not None
            return learned(maps, side, kernel)
        return {"tile": tile, "bilinear": bilinear}[config.upsampling](maps, side)

    stack: Array | None = None
    for level in levels:
        side = SIDES_PX[level]
        maps = encoded[level]
        upsampled: Array | None = None
        if stack is not None:
            upsampled = up(stack, side, next(kernels, None))
            maps = np.concatenate([only_maxima(maps) if config.zero_non_pooled else maps, upsampled], axis=1)
        num_convs = CONVS[config.layer_preset][level]
        if config.branches == 4 and level == 3:
            num_convs = 2
        for index in range(num_convs):
            kernel = further_kernel if index else first_kernel
            maps = relu(conv(maps, weights, 1 if side == 1 else kernel))
        stack = maps if upsampled is None or not config.skip else np.concatenate([maps, upsampled], axis=1)
    if levels[-1] > 0:
        maps = up(maps, SIDES_PX[0], next(kernels, None))
    return conv(maps, weights, further_kernel)


def numpy_sumnet(image: Array, weights: Weights, sum_weights: Array, config: SumNetConfig) -> Array:
    """Compute a SumNet layer by layer."""
    mask = config.mask or "1" * config.branches
    levels = [level for level in range(config.branches) if mask[::-1][level] == "1"]
    encoded = encoder(image, weights, levels[-1] + 1)
    total = np.zeros((len(image), sum_weights.shape[1], SIDES_PX[0], SIDES_PX[0]))
    for level, weight in zip(levels, sum_weights, strict=True):
        kernel = 1 if SIDES_PX[level] == 1 else 3
        maps = relu(conv(encoded[level], weights, kernel))
        if config.layer_preset == "300w" and level == 0:
            maps = conv(maps, weights, kernel)
            maps = relu(conv(maps, weights, kernel))
        maps = conv(maps, weights, kernel)
        total += weight * {"tile": tile, "bilinear": bilinear}[config.upsampling](maps, SIDES_PX[0])
    return total


def build(config: RcnConfig | SumNetConfig, in_channels: int) -> Network:
    """Build a network in double precision, whose biases are not zero."""
    network = build_model(config, num_points=3, input_px=40, in_channels=in_channels, seed=5).double()
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.uniform_(-0.2, 0.2, generator=generator)
    return network


def images(in_channels: int) -> torch.Tensor:
    return torch.rand(2, in_channels, 40, 40, generator=torch.Generator().manual_seed(7), dtype=torch.double)


def convs_of(network: Network) -> Weights:
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return ((state[name], state[name.replace("weight", "bias")]) for name in state if name.endswith(".weight"))


RCNS: dict[str, tuple[RcnConfig, int]] = {
    "mtfl-6": (RcnConfig(), 1),
    "mtfl-5-color": (RcnConfig(branches=5), 3),
    "mtfl-1": (RcnConfig(branches=1, channels=4), 1),
    "mtfl-4": (RcnConfig(branches=4, channels=4), 1),
    "mtfl-6-skip": (RcnConfig(branches=6, skip=True), 1),
    "mtfl-6-bilinear": (RcnConfig(branches=6, channels=4, upsampling="bilinear"), 1),
    "mtfl-6-learned-zeroed": (RcnConfig(branches=6, channels=4, upsampling="learned", zero_non_pooled=True), 1),
    "300w-5": (RcnConfig(branches=5, layer_preset="300w", channels=4), 1),
    "300w-6-color": (RcnConfig(branches=6, layer_preset="300w", channels=4), 3),
    "300w-5-skip": (RcnConfig(branches=5, layer_preset="300w", channels=4, skip=True), 1),
    "300w-5-skip-learned": (RcnConfig(branches=5, layer_preset="300w", channels=4, skip=True, upsampling="learned"), 1),
    "300w-5-released": (
        RcnConfig(branches=5, layer_preset="300w", channels=4, upsampling="learned", zero_non_pooled=True),
        1,
    ),
    "300w-6-zeroed": (RcnConfig(branches=6, layer_preset="300w", channels=4, zero_non_pooled=True), 1),
    "300w-0110-learned": (RcnConfig(branches=4, layer_preset="300w", channels=4, mask="0110", upsampling="learned"), 1),
    "mtfl-1001-learned": (RcnConfig(branches=4, channels=4, mask="1001", upsampling="learned"), 1),
    "mtfl-1001-bilinear": (RcnConfig(branches=4, channels=4, mask="1001", upsampling="bilinear"), 1),
    "mtfl-101101-zeroed": (RcnConfig(branches=6, channels=4, mask="101101", zero_non_pooled=True), 1),
    **{
        f"mtfl-{mask}": (RcnConfig(branches=4, channels=4, mask=mask), 1)
        for mask in ("1000", "0100", "1100", "0010", "0001", "0011", "0111", "1001", "1111")
    },
}
SUMNETS: dict[str, tuple[SumNetConfig, int]] = {
    "mtfl-6": (SumNetConfig(), 1),
    "mtfl-4-pixel-color": (SumNetConfig(branches=4, fusion_weights="pixel"), 3),
    "mtfl-6-bilinear": (SumNetConfig(channels=4, upsampling="bilinear"), 1),
    "300w-5": (SumNetConfig(branches=5, layer_preset="300w", channels=4), 1),
    "300w-5-pixel": (SumNetConfig(branches=5, layer_preset="300w", channels=4, fusion_weights="pixel"), 3),
    "mtfl-011000": (SumNetConfig(channels=4, mask="011000"), 1),
    "mtfl-0110-pixel-bilinear": (
        SumNetConfig(branches=4, channels=4, mask="0110", fusion_weights="pixel", upsampling="bilinear"),
        1,
    ),
    "300w-01001": (SumNetConfig(branches=5, layer_preset="300w", channels=4, mask="01001"), 1),
    **{
        f"mtfl-{mask}": (SumNetConfig(branches=4, channels=4, mask=mask), 1)
        for mask in ("1000", "0100", "1100", "0010", "0001", "0011", "0111", "1001", "1111")
    },
}


@pytest.mark.parametrize(("config", "in_channels"), RCNS.values(), ids=RCNS.keys())
def test_rcn_forward_equals_the_numpy_reference(config: RcnConfig, in_channels: int) -> None:
    network, image = build(config, in_channels), images(in_channels)
    kernels = iter([tensor.numpy() for name, tensor in network.state_dict().items() if name.endswith(".kernel")])
    convs = convs_of(network)
    expected = numpy_rcn(image.numpy(), convs, kernels, config)
    assert next(convs, None) is None
    assert next(kernels, None) is None
    with torch.no_grad():
        np.testing.assert_allclose(network(image).numpy(), expected, rtol=0, atol=1e-10)
        np.testing.assert_allclose(network.float()(image.float()).numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("config", "in_channels"), SUMNETS.values(), ids=SUMNETS.keys())
def test_sumnet_forward_equals_the_numpy_reference(config: SumNetConfig, in_channels: int) -> None:
    network, image = build(config, in_channels), images(in_channels)
    convs = convs_of(network)
    expected = numpy_sumnet(image.numpy(), convs, network.state_dict()["weights"].numpy(), config)
    assert next(convs, None) is None
    with torch.no_grad():
        np.testing.assert_allclose(network(image).numpy(), expected, rtol=0, atol=1e-10)
        np.testing.assert_allclose(network.float()(image.float()).numpy(), expected, rtol=0, atol=1e-5)
