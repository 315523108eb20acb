from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rcn_search.config.schema import RcnConfig, TcdcnConfig
from rcn_search.models import build_model
from rcn_search.models.complexity import count_parameters
from rcn_search.models.rcn import RCN


@pytest.mark.parametrize(
    ("branches", "skip", "channels", "expected"),
    [
        (4, False, "paper", 164_837),
        (5, False, "paper", 227_141),
        (6, False, "paper", 310_229),
        (7, False, "paper", 338_021),
        (5, True, "paper", 293_957),
        (6, True, "paper", 439_253),
        (7, True, "paper", 549_989),
        (6, False, 48, 418_085),
        # One branch: 1 to 16, 16 to 16 and 16 to 5 channels.
        (1, False, "paper", 160 + 2_320 + 725),
        # Three branches: three encoder convolutions, the 20x20 branch without a coarser one, the finer branches.
        (3, False, "paper", 160 + 4_640 + 13_872 + 20_784 + 13_856 + 18_464 + 4_624 + 4_624 + 725),
    ],
)
def test_rcn_parameter_counts(branches: int, skip: bool, channels: str | int, expected: int) -> None:
    model = build_model(RcnConfig(branches=branches, skip=skip, channels=channels), num_points=5)
    assert count_parameters(model) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"branches": 5}, 1_095_492),
        ({"branches": 6}, 1_341_444),
        ({"branches": 7}, 1_456_324),
        ({"branches": 5, "skip": True}, 1_709_892),
        ({"branches": 5, "upsampling": "learned", "zero_non_pooled": True}, 1_095_528),  # as published
        ({"branches": 6, "upsampling": "learned"}, 1_341_444 + 4 * 9 + 25),
    ],
)
def test_rcn_parameter_counts_of_300w_preset(options: dict[str, Any], expected: int) -> None:
    model = build_model(RcnConfig(layer_preset="300w", **options), num_points=68)
    assert count_parameters(model) == expected


def test_rcn_kernels_of_300w_preset() -> None:
    model = build_model(RcnConfig(layer_preset="300w", branches=7, channels=4), num_points=68)
    kernels = [layer.kernel_size[0] for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    trunk, coarsest, further, finest = [3] * 6 + [1], [1, 1], [5, 1, 5, 1, 5, 5, 1, 5, 1], [5, 1, 1, 1]
    assert kernels == trunk + coarsest + further + finest


def test_rcn_kernels_of_300w_3x3_preset_are_all_3() -> None:
    model = build_model(RcnConfig(layer_preset="300w-3x3", branches=5, channels=4), num_points=68)
    assert {layer.kernel_size for layer in model.modules() if isinstance(layer, nn.Conv2d)} == {(3, 3)}


def test_learned_upsampling_initialization_and_l2_groups() -> None:
    model = build_model(RcnConfig(layer_preset="300w", branches=6, upsampling="learned", channels=4), num_points=5)
    kernels = {name: kernel for name, kernel in model.named_parameters() if name.endswith("upsampling.kernel")}
    assert [len(kernel) for kernel in kernels.values()] == [5, 3, 3, 3, 3]  # from 2 to 5 pixels by three
    for kernel in kernels.values():
        bound = math.sqrt(6 / (2 * kernel.numel()))
        assert 0.5 * bound < kernel.abs().max() <= bound
    grouped = {id(weight) for group in model.l2_groups() for weight in group}
    assert not grouped & {id(kernel) for kernel in kernels.values()}


@pytest.mark.parametrize("config", [RcnConfig(), RcnConfig(branches=5, skip=True, zero_non_pooled=True)])
def test_branch_logits_hide_finer_encoder_maps(config: RcnConfig) -> None:
    model = build_model(config, num_points=5)
    assert isinstance(model, RCN)
    image = torch.randn(1, 1, 80, 80, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        parts = model.branch_logits(image)
        assert torch.equal(parts[-1], model(image))
        for seen, part in enumerate(parts, start=1):
            unseen = config.branches - seen
            handle = model.trunk.register_forward_hook(
                lambda module, inputs, maps, unseen=unseen: [m * (i >= unseen) for i, m in enumerate(maps)]
            )
            torch.testing.assert_close(part, model(image), rtol=0, atol=1e-6)
            handle.remove()


def test_branch_logits_of_model_without_branches_is_refused() -> None:
    with pytest.raises(ValueError, match="TCDCN has no branches"):
        build_model(TcdcnConfig(), num_points=5).branch_logits(torch.zeros(1, 1, 80, 80))


def plain_six_branches(image: Tensor, convs: list[nn.Conv2d], *, skip: bool) -> Tensor:
    """Compute RCN-6 line by line from its layer list, with concatenation and tiling; `convs` as constructed."""
    sh1, sh2, sh3, sh4, sh5, sh6, t1, t2, s1, s2, d1, c1, c2, m1, m2, f1, f_out = convs

    def up(maps: Tensor, tile: int) -> Tensor:
        return maps.repeat_interleave(tile, dim=2).repeat_interleave(tile, dim=3)

    def join(encoded: Tensor, stack: Tensor) -> Tensor:
        return torch.cat([encoded, stack], dim=1)

    e80 = sh1(image).relu()
    e40 = sh2(F.max_pool2d(e80, 2)).relu()
    e20 = sh3(F.max_pool2d(e40, 2)).relu()
    e10 = sh4(F.max_pool2d(e20, 2)).relu()
    e5 = sh5(F.max_pool2d(e10, 2)).relu()
    e2 = sh6(F.max_pool2d(e5, 3, stride=2)).relu()
    t = t2(t1(e2).relu()).relu()
    stack = up(t, 3)[:, :, :5, :5]
    s = s2(s1(join(e5, stack)).relu()).relu()
    stack = up(join(s, stack) if skip else s, 2)
    d = d1(join(e10, stack)).relu()
    stack = up(join(d, stack) if skip else d, 2)
    c = c2(c1(join(e20, stack)).relu()).relu()
    stack = up(join(c, stack) if skip else c, 2)
    m = m2(m1(join(e40, stack)).relu()).relu()
    stack = up(join(m, stack) if skip else m, 2)
    logits: Tensor = f_out(f1(join(e80, stack)).relu())
    return logits


@pytest.mark.parametrize("skip", [False, True])
def test_rcn_forward_equals_the_published_layer_list(skip: bool) -> None:
    model = build_model(RcnConfig(branches=6, skip=skip), num_points=5).double()
    with torch.no_grad():
        for parameter in model.parameters():  # biases that are not zero
            parameter.add_(torch.rand(parameter.shape, generator=torch.Generator().manual_seed(0)) - 0.5, alpha=0.02)
    image = torch.randn(2, 1, 80, 80, generator=torch.Generator().manual_seed(1)).double()
    convs = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    torch.testing.assert_close(model(image), plain_six_branches(image, convs, skip=skip), rtol=0, atol=1e-12)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("branches", range(1, 8))
def test_rcn_logits_depend_on_every_resolution(branches: int, skip: bool) -> None:
    model = build_model(RcnConfig(branches=branches, skip=skip), num_points=5)
    assert isinstance(model, RCN)
    image = torch.randn(1, 1, 80, 80, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = model(image)
        model.trunk[-1].weight.mul_(2)
        assert not torch.equal(before, model(image))


def test_rcn_logits_of_single_branch_are_linear() -> None:
    model = build_model(RcnConfig(branches=1), num_points=5)
    logits = model(torch.randn(1, 1, 80, 80, generator=torch.Generator().manual_seed(1)))
    assert logits.min() < 0 < logits.max()


def test_l2_groups_separate_encoder_and_branches() -> None:
    trunk, branches = build_model(RcnConfig(), num_points=5).l2_groups()
    assert sum(weight.numel() for weight in trunk) == 144 + 4_608 + 13_824 + 3 * 20_736
    assert len(branches) == 11
    trunk_biases, branch_biases = 16 + 32 + 4 * 48, 5 * 48 + (48 + 32) + (32 + 16) + (16 + 5)
    assert sum(weight.numel() for weight in trunk + branches) == 310_229 - trunk_biases - branch_biases


def test_rcn_fourth_branch_has_two_convolutions_only_if_coarsest() -> None:
    assert [len(branch.rest) for branch in build_model(RcnConfig(branches=4), num_points=5).branches] == [1, 1, 1, 1]
    assert [len(branch.rest) for branch in build_model(RcnConfig(branches=5), num_points=5).branches] == [1, 0, 1, 1, 1]
    masked = build_model(RcnConfig(branches=5, mask="01111"), num_points=5)  # five without the coarsest
    assert [len(branch.rest) for branch in masked.branches] == [0, 1, 1, 1]


def test_rcn_with_seven_branches_and_40_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 6"):
        build_model(RcnConfig(branches=7), num_points=5, input_px=40)
