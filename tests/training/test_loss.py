from __future__ import annotations

import math

import pytest
import torch

from rcn_search.config.schema import LossConfig, TcdcnConfig, TrainConfig
from rcn_search.models.tcdcn import TcdcnOutput
from rcn_search.training.loss import soft_argmax_loss, spatial_nll, tcdcn_loss, training_loss

# Map of 2x2 cells with probabilities 0.1, 0.2 in the upper row, 0.3, 0.4 in the lower.
LOGITS_HW = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).log()


def test_spatial_nll_by_hand() -> None:
    logits = torch.stack([LOGITS_HW, LOGITS_HW.flip(1)]).expand(2, 2, 2, 2)
    points = torch.tensor([[[0.7, 0.2], [0.2, 0.9]], [[0.5, 0.5], [0.0, 0.49]]])
    by_hand = -(math.log(0.2) + math.log(0.4) + math.log(0.4) + math.log(0.2)) / 2
    torch.testing.assert_close(spatial_nll(logits, points), torch.tensor(by_hand))
    torch.testing.assert_close(spatial_nll(logits + 7, points), torch.tensor(by_hand))


@pytest.mark.parametrize("sigma_px", [0.0, 0.5])
def test_spatial_nll_moves_points_outside_to_the_border(sigma_px: float) -> None:
    logits = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    outside = torch.tensor([[[-0.4, 0.3], [1.0, 1.7], [25.0, -0.01]]])
    border = torch.tensor([[[0.0, 0.3], [0.99999, 0.99999], [0.99999, 0.0]]])
    torch.testing.assert_close(spatial_nll(logits, outside, sigma_px), spatial_nll(logits, border, sigma_px))


def test_spatial_nll_with_narrow_target_equals_the_true_cell() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, points = torch.randn(4, 5, 8, 8, generator=generator), torch.rand(4, 5, 2, generator=generator)
    torch.testing.assert_close(spatial_nll(logits, points, 0.02), spatial_nll(logits, points))


def test_spatial_nll_with_soft_target_by_hand() -> None:
    # The center of the map is equally far from all four cells; a point left of it is nearer to the left ones.
    middle = -torch.tensor([0.1, 0.2, 0.3, 0.4]).log().mean()
    torch.testing.assert_close(spatial_nll(LOGITS_HW[None, None], torch.tensor([[[0.5, 0.5]]]), 0.7), middle)
    left = 1 / (1 + math.exp(-(0.75**2 - 0.25**2) / (2 * 0.7**2)))  # weight of the left column
    by_hand = -left * (math.log(0.1) + math.log(0.3)) / 2 - (1 - left) * (math.log(0.2) + math.log(0.4)) / 2
    at_quarter = spatial_nll(LOGITS_HW[None, None], torch.tensor([[[0.375, 0.5]]]), 0.7)
    torch.testing.assert_close(at_quarter, torch.tensor(by_hand))


@pytest.mark.parametrize("sigma_px", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_spatial_nll_gradient_is_finite_and_sums_to_zero(sigma_px: float, dtype: torch.dtype) -> None:
    """The gradient is softmax minus target, even for extreme logits and points."""
    generator = torch.Generator().manual_seed(0)
    logits = (1_000 * torch.randn(2, 5, 8, 8, generator=generator)).to(dtype).requires_grad_()
    spatial_nll(logits, 3 * torch.rand(2, 5, 2, generator=generator) - 1, sigma_px).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().max() > 0.1
    torch.testing.assert_close(logits.grad.float().sum((2, 3)), torch.zeros(2, 5), atol=0.01, rtol=0)


@pytest.mark.parametrize("sigma_px", [0.0, 1.0])
def test_spatial_nll_of_bf16_maps_is_computed_in_fp32(sigma_px: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 8, 8, generator=generator).bfloat16()
    points = torch.rand(2, 5, 2, generator=generator)
    assert spatial_nll(logits, points, sigma_px) == spatial_nll(logits.float(), points, sigma_px)


def test_tcdcn_loss_by_hand() -> None:
    points = torch.tensor([[[0.0, 0.0], [0.5, 1.0]], [[0.2, 0.2], [1.0, 0.0]]])
    predicted = points + torch.tensor([[[0.3, 0.4], [0.0, 0.0]], [[0.0, 0.1], [-0.2, 0.0]]])
    half_squares = (0.3**2 + 0.4**2 + 0.1**2 + 0.2**2) / 2 / 2
    smile = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log()
    cross_entropy = -(math.log(0.75) + math.log(0.5)) / 2
    attributes = {"smile": torch.tensor([1, 0]), "pose": torch.tensor([4, 4])}
    without = tcdcn_loss(TcdcnOutput(predicted, {}), points, attributes, 0.1)
    torch.testing.assert_close(without, torch.tensor(half_squares))
    with_smile = tcdcn_loss(TcdcnOutput(predicted, {"smile": smile}), points, attributes, 0.1)
    torch.testing.assert_close(with_smile, torch.tensor(half_squares + 0.1 * cross_entropy))


def test_training_loss_depends_on_the_configuration(tiny_config: TrainConfig) -> None:
    points = torch.tensor([[[0.7, 0.2]]])
    logits = LOGITS_HW[None, None]
    assert training_loss(tiny_config, logits, points, {}) == spatial_nll(logits, points)
    soft = tiny_config.model_copy(update={"loss": LossConfig(target_sigma_px=1.0)})
    assert training_loss(soft, logits, points, {}) == spatial_nll(logits, points, 1.0)
    tcdcn = tiny_config.model_copy(update={"model": TcdcnConfig(auxiliary=True, auxiliary_weight=3.0)})
    output, smile = TcdcnOutput(points + 0.1, {"smile": torch.zeros(1, 2)}), {"smile": torch.tensor([1])}
    assert training_loss(tcdcn, output, points, smile) == tcdcn_loss(output, points, smile, 3.0)


@pytest.mark.parametrize("sigma_px", [0.0, 1.0])
def test_spatial_nll_ignores_points_of_weight_zero(sigma_px: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, points = torch.randn(2, 3, 8, 8, generator=generator), torch.rand(2, 3, 2, generator=generator)
    weight = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    losses = [spatial_nll(logits[b : b + 1, k : k + 1], points[b : b + 1, k : k + 1], sigma_px) for b, k in
            ((0, 0), (0, 2), (1, 2))]  # fmt: skip
    torch.testing.assert_close(spatial_nll(logits, points, sigma_px, weight), 3 * sum(losses) / 3)
    everything = torch.ones(2, 3)
    torch.testing.assert_close(spatial_nll(logits, points, sigma_px, everything), spatial_nll(logits, points, sigma_px))
    changed = logits.clone()
    changed[0, 1] = 5.0
    assert spatial_nll(changed, points, sigma_px, weight) == spatial_nll(logits, points, sigma_px, weight)
    assert spatial_nll(logits, points, sigma_px, torch.zeros(2, 3)) == 0


def test_soft_argmax_loss_by_hand() -> None:
    """The mean of the four cells is at x = 0.25 * 0.4 + 0.75 * 0.6, y = 0.25 * 0.3 + 0.75 * 0.7."""
    points = torch.tensor([[[0.55, 0.4], [0.8, 0.6]]])
    logits = torch.stack([LOGITS_HW, LOGITS_HW])[None]
    half_squares = (0.2**2 + 0.25**2) * 2**2 / 2
    torch.testing.assert_close(soft_argmax_loss(logits, points), torch.tensor(half_squares))
    left_out = torch.tensor([[1.0, 0.0]])
    torch.testing.assert_close(soft_argmax_loss(logits, points, left_out), torch.tensor(2 * 0.2**2 * 2**2 / 2))


def test_training_loss_l2_is_the_soft_argmax_loss(tiny_config: TrainConfig) -> None:
    points, logits = torch.tensor([[[0.7, 0.2]]]), LOGITS_HW[None, None]
    l2 = tiny_config.model_copy(update={"loss": LossConfig(name="l2")})
    assert training_loss(l2, logits, points, {}) == soft_argmax_loss(logits, points)


def test_tcdcn_loss_ignores_points_of_weight_zero() -> None:
    points = torch.tensor([[[0.0, 0.0], [0.5, 1.0]]])
    output = TcdcnOutput(points + 0.1, {})
    weighted = tcdcn_loss(output, points, {}, 0.1, torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(weighted, torch.tensor(2 * 0.02 / 2))
