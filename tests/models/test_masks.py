"""Branch masks (Table 1) of RCN and SumNet: an omitted branch does not exist."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rcn_search.config.schema import RcnConfig, SumNetConfig
from rcn_search.models import build_model
from rcn_search.models.complexity import count_parameters
from rcn_search.models.rcn import RCN
from rcn_search.models.sumnet import SumNet

# Masks of Table 1, coarsest first.
MASKS = ("1000", "0100", "1100", "0010", "0001", "0011", "0111", "1001", "1111")
SIDES_PX = (80, 40, 20, 10)
TRUNK = (160, 4_640, 13_872, 20_784)  # parameters of the encoder's convolutions
every_mask = pytest.mark.parametrize("mask", MASKS)
both_models = pytest.mark.parametrize("config_class", [RcnConfig, SumNetConfig])


def build(config_class: type[RcnConfig] | type[SumNetConfig], mask: str | None) -> RCN | SumNet:
    network = build_model(config_class(branches=4, mask=mask), num_points=5)
    assert isinstance(network, RCN | SumNet)
    return network


def images() -> Tensor:
    return torch.randn(2, 1, 80, 80, generator=torch.Generator().manual_seed(1))


@both_models
@every_mask
def test_masked_network_shape_and_gradients(config_class: Any, mask: str) -> None:
    network = build(config_class, mask)
    logits = network(images())
    assert logits.shape == (2, 5, 80, 80)
    logits.flatten(2).log_softmax(2)[..., 3_000].mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def conv(c_in: int, c_out: int) -> int:
    return 9 * c_in * c_out + c_out


# Convolutions of the branches that are kept; the 10x10 branch has two if it is the coarsest of four.
RCN_BRANCHES = {
    "1000": 2 * conv(48, 48) + conv(48, 5),
    "0100": conv(48, 48) + conv(48, 32) + conv(32, 5),
    "1100": 2 * conv(48, 48) + conv(96, 48) + conv(48, 32) + conv(32, 5),
    "0010": conv(32, 32) + conv(32, 16) + conv(16, 5),
    "0001": conv(16, 16) + conv(16, 5),
    "0011": conv(32, 32) + conv(32, 16) + conv(32, 16) + conv(16, 5),
    "0111": conv(48, 48) + conv(48, 32) + conv(64, 32) + conv(32, 16) + conv(32, 16) + conv(16, 5),
    "1001": 2 * conv(48, 48) + conv(16 + 48, 16) + conv(16, 5),
    "1111": 164_837 - sum(TRUNK),
}


@every_mask
def test_masked_rcn_parameter_count(mask: str) -> None:
    assert count_parameters(build(RcnConfig, mask)) == sum(TRUNK[: 4 - mask.index("1")]) + RCN_BRANCHES[mask]


@every_mask
def test_masked_sumnet_parameter_count(mask: str) -> None:
    branches = [conv(c, c) + conv(c, 5) + 5 for c in (48, 48, 32, 16)]
    kept = sum(size for size, digit in zip(branches, mask, strict=True) if digit == "1")
    assert count_parameters(build(SumNetConfig, mask)) == sum(TRUNK[: 4 - mask.index("1")]) + kept


@pytest.mark.parametrize("config", [RcnConfig(branches=4), SumNetConfig(branches=4)], ids=["rcn", "sumnet"])
def test_mask_of_ones_equals_no_mask(config: RcnConfig | SumNetConfig) -> None:
    plain = build_model(config, num_points=5).state_dict()
    masked = build_model(config.model_copy(update={"mask": "1111"}), num_points=5).state_dict()
    assert plain.keys() == masked.keys()
    assert all(torch.equal(plain[name], masked[name]) for name in plain)


@both_models
@every_mask
def test_masked_network_does_not_read_maps_of_omitted_branches(config_class: Any, mask: str) -> None:
    network = build(config_class, mask)
    omitted_px = {side for side, digit in zip(SIDES_PX, reversed(mask), strict=True) if digit == "0"}
    with torch.no_grad():
        before = network(images())

        def set_to_nan(module: Any, inputs: Any, maps: list[Tensor]) -> list[Tensor]:
            return [m * torch.nan if m.shape[-1] in omitted_px else m for m in maps]

        network.trunk.register_forward_hook(set_to_nan)
        assert torch.equal(network(images()), before)


@pytest.mark.parametrize("mask", MASKS[:-1])
def test_masked_sumnet_equals_zero_weights(mask: str) -> None:
    full, masked = build(SumNetConfig, None), build(SumNetConfig, mask)
    assert isinstance(full, SumNet)
    kept = [level for level in range(4) if mask[::-1][level] == "1"]
    state = {name: t for name, t in full.state_dict().items() if name in masked.state_dict() and "trunk" in name}
    for index, level in enumerate(kept):
        branch = full.branches[level].state_dict()
        state |= {f"branches.{index}.{name}": tensor for name, tensor in branch.items()}
    weights = full.get_parameter("weights").detach()
    masked.load_state_dict(state | {"weights": weights[kept]})
    with torch.no_grad():
        weights[[level for level in range(4) if level not in kept]] = 0
        torch.testing.assert_close(masked(images()), full(images()), rtol=0, atol=1e-6)


@both_models
@every_mask
def test_branch_logits_of_masked_network(config_class: Any, mask: str) -> None:
    network = build(config_class, mask)
    with torch.no_grad():
        logits, parts = network(images()), network.branch_logits(images())
    assert [part.shape for part in parts] == [(2, 5, 80, 80)] * mask.count("1")
    total = parts[-1] if config_class is RcnConfig else torch.stack(parts).sum(0)
    torch.testing.assert_close(total, logits, rtol=0, atol=1e-6)
    if config_class is SumNetConfig:  # the pixels of the coarsest branch are tiles
        coarsest_px = SIDES_PX[3 - mask.index("1")]
        tiles = parts[0].unflatten(2, (coarsest_px, -1)).unflatten(4, (coarsest_px, -1))
        assert torch.equal(tiles, tiles[:, :, :, :1, :, :1].expand_as(tiles))
