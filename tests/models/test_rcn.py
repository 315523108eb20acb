from __future__ import annotations

import pytest
import torch

from rcn_search.config import RcnConfig
from rcn_search.models import build_model
from rcn_search.models.cost import count_parameters, multiply_adds
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
        # Three branches: rows 1 to 3 of rcn.md 4.1, the 20x10 branch without a coarser one, rows 16 to 19.
        (3, False, "paper", 160 + 4_640 + 13_872 + 20_784 + 13_856 + 18_464 + 4_624 + 4_624 + 725),
    ],
)
def test_parameter_counts(branches: int, skip: bool, channels: str | int, expected: int) -> None:
    model = build_model(RcnConfig(branches=branches, skip=skip, channels=channels), num_points=5)
    assert count_parameters(model) == expected


def test_multiply_adds_of_the_rewritten_network() -> None:
    # One branch has nothing to recombine: three 3x3 convolutions at 80x80.
    one = build_model(RcnConfig(branches=1), num_points=5)
    assert multiply_adds(one, 80) == 6_400 * 9 * (16 + 16 * 16 + 16 * 5)
    # The paper's form takes 115 million; of the upsampled half of a 3x3 kernel 4 of 9 products remain.
    assert 90e6 < multiply_adds(build_model(RcnConfig(), num_points=5), 80) < 95e6


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("branches", range(1, 8))
def test_every_resolution_reaches_the_logits(branches: int, skip: bool) -> None:
    model = build_model(RcnConfig(branches=branches, skip=skip), num_points=5)
    assert isinstance(model, RCN)
    image = torch.randn(1, 1, 80, 80, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = model(image)
        model.trunk[-1].weight.mul_(2)
        assert not torch.equal(before, model(image))


def test_l2_groups_split_trunk_and_branches() -> None:
    trunk, branches = build_model(RcnConfig(), num_points=5).l2_groups()
    assert sum(weight.numel() for weight in trunk) == 144 + 4_608 + 13_824 + 3 * 20_736
    assert len(branches) == 11
    trunk_biases, branch_biases = 16 + 32 + 4 * 48, 5 * 48 + (48 + 32) + (32 + 16) + (16 + 5)
    assert sum(weight.numel() for weight in trunk + branches) == 310_229 - trunk_biases - branch_biases


def test_ten_pixels_have_two_convolutions_only_where_they_are_the_coarsest() -> None:
    assert [len(branch.rest) for branch in build_model(RcnConfig(branches=4), num_points=5).branches] == [1, 1, 1, 1]
    assert [len(branch.rest) for branch in build_model(RcnConfig(branches=5), num_points=5).branches] == [1, 0, 1, 1, 1]


def test_seven_branches_do_not_fit_forty_pixels() -> None:
    with pytest.raises(ValueError, match="at most 6"):
        build_model(RcnConfig(branches=7), num_points=5, input_px=40)
