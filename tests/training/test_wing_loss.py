"""Wing and Adaptive Wing against their formulas, pixel by pixel in NumPy."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from rcn_search.config.schema import TrainConfig
from rcn_search.models.tcdcn import TcdcnOutput
from rcn_search.training.loss import training_loss
from rcn_search.training.wing_loss import adaptive_wing, adaptive_wing_logits, gaussian_targets, wing, wing_points
from tests.support.configs import config_error


def wing_of(x: float, w: float = 10.0, epsilon: float = 2.0) -> float:
    """Eq. 5 of Feng et al. 2018."""
    if abs(x) < w:
        return w * math.log(1 + abs(x) / epsilon)
    return abs(x) - (w - w * math.log(1 + w / epsilon))


def adaptive_wing_of(y: float, y_hat: float) -> float:
    """Eq. 3 of Wang et al. 2019, with alpha 2.1, omega 14, epsilon 1 and theta 0.5."""
    alpha, omega, epsilon, theta = 2.1, 14.0, 1.0, 0.5
    if abs(y - y_hat) < theta:
        return omega * math.log(1 + abs((y - y_hat) / epsilon) ** (alpha - y))
    a = (
        omega
        * (1 / (1 + (theta / epsilon) ** (alpha - y)))
        * (alpha - y)
        * (theta / epsilon) ** (alpha - y - 1)
        / epsilon
    )
    c = theta * a - omega * math.log(1 + (theta / epsilon) ** (alpha - y))
    return a * abs(y - y_hat) - c


def test_wing_is_the_papers() -> None:
    error = np.linspace(-25, 25, 101)
    expected = [wing_of(x) for x in error]
    np.testing.assert_allclose(wing(torch.from_numpy(error)).numpy(), expected, rtol=1e-12)
    assert wing_of(10 - 1e-9) == pytest.approx(wing_of(10))  # no step where the two parts meet


def test_wing_points_are_in_pixels_of_the_input() -> None:
    predicted, true = torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[0.25, 0.5 - 1 / 80]]])
    assert float(wing_points(predicted, true, 80)) == pytest.approx(wing_of(20) + wing_of(1), rel=1e-5)


def test_adaptive_wing_is_the_papers_weighted_by_the_dilated_target() -> None:
    generator = np.random.default_rng(0)
    target, heatmap = generator.random((2, 3, 7, 7)) ** 4, generator.random((2, 3, 7, 7))
    expected = np.zeros((2, 3))
    for image in range(2):
        for point in range(3):
            for row in range(7):
                for column in range(7):
                    rows, columns = slice(max(row - 1, 0), row + 2), slice(max(column - 1, 0), column + 2)
                    weight = 11 if target[image, point, rows, columns].max() >= 0.2 else 1
                    place = image, point, row, column
                    expected[image, point] += weight * adaptive_wing_of(target[place], heatmap[place]) / 49
    actual = adaptive_wing(torch.from_numpy(heatmap), torch.from_numpy(target))
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-9)


def test_gaussian_targets_have_their_peak_at_the_point() -> None:
    points_bk2 = torch.tensor([[[5.5 / 20, 2.5 / 20], [1.5, -3.0]]])
    target = gaussian_targets(points_bk2, 20, 1.5)
    assert target.shape == (1, 2, 20, 20)
    assert float(target[0, 0, 2, 5]) == pytest.approx(1.0)
    assert float(target[0, 0, 4, 5]) == pytest.approx(math.exp(-4 / 4.5), rel=1e-5)
    assert tuple(divmod(int(target[0, 1].argmax()), 20)) == (0, 19)


@pytest.mark.parametrize("name", ["wing", "adaptive_wing"])
def test_training_loss_is_least_where_the_points_are(name: str) -> None:
    config = TrainConfig.model_validate({"data": {"uri": "x"}, "loss": {"name": name, "target_sigma_px": 1.5}})
    points_bk2 = torch.tensor([[[0.31, 0.64], [0.5, 0.2]], [[0.1, 0.1], [0.9, 0.7]]])
    logits = (gaussian_targets(points_bk2, 40, 1.5) + 1e-4).logit(eps=1e-6)
    at_points = training_loss(config, logits, points_bk2, {})
    moved = training_loss(config, logits.roll(3, dims=3), points_bk2, {})
    assert at_points < moved
    logits.requires_grad_()
    training_loss(config, logits, points_bk2, {}).backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
    # Points of weight 0 count nowhere, as in every loss.
    weight_bk = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    far = points_bk2.clone()
    far[0, 1] = 0.9
    same = [training_loss(config, logits.detach(), each, {}, weight_bk) for each in (points_bk2, far)]
    assert torch.equal(*same)


def test_training_loss_of_points_is_wing_where_it_is_asked_for() -> None:
    config = TrainConfig.model_validate({"data": {"uri": "x"}, "model": {"name": "tcdcn"}, "loss": {"name": "wing"}})
    points_bk2 = torch.full((1, 2, 2), 0.5)
    output = TcdcnOutput(points_bk2 + 0.05, {})
    assert float(training_loss(config, output, points_bk2, {})) == pytest.approx(4 * wing_of(4.0), rel=1e-4)


def test_adaptive_wing_of_logits_takes_their_sigmoid() -> None:
    points_bk2 = torch.tensor([[[0.4, 0.6]]])
    logits = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = adaptive_wing(logits.sigmoid(), gaussian_targets(points_bk2, 16, 2.0))
    assert torch.equal(adaptive_wing_logits(logits, points_bk2, 2.0), expected)


def test_adaptive_wing_without_a_width_of_its_targets_is_refused(tmp_path: Path) -> None:
    text = "data: {uri: x}\nloss: {name: adaptive_wing}\n"
    assert "adaptive_wing needs target_sigma_px above 0" in config_error(tmp_path, text)
