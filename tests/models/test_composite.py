from __future__ import annotations

import pytest
import torch

from rcn_search.config.schema import DenoiserConfig, RcnConfig, TcdcnConfig
from rcn_search.keypoints import FIVE
from rcn_search.models import build_model
from rcn_search.models.composite import FlipAverage, JointModel
from rcn_search.models.decode import argmax_cells
from rcn_search.models.denoiser import Denoiser
from rcn_search.models.tcdcn import TcdcnOutput


def denoiser(input_px: int = 40, num_points: int = 5) -> Denoiser:
    config = DenoiserConfig(kernel_px=21, channels=4, num_corrupted_points=2)
    model = build_model(config, num_points=num_points, input_px=input_px, seed=1)
    assert isinstance(model, Denoiser)
    return model


@pytest.fixture
def joint() -> JointModel:
    return JointModel(build_model(RcnConfig(branches=3, channels=8), num_points=5, input_px=40), denoiser())


IMAGE = torch.randn(2, 1, 40, 40, generator=torch.Generator().manual_seed(0))
LARGE_IMAGE = torch.rand(2, 1, 80, 80, generator=torch.Generator().manual_seed(0))


def test_joint_logits_are_the_sum(joint: JointModel) -> None:
    logits = joint.network(IMAGE)
    second = joint.denoiser(argmax_cells(logits))
    torch.testing.assert_close(joint(IMAGE), logits + second, rtol=0, atol=0)
    assert second.abs().max() > 0


def test_joint_gradient_reaches_every_parameter(joint: JointModel) -> None:
    joint(IMAGE).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in joint.parameters())
    trunk, others = joint.l2_groups()
    assert {id(weight) for weight in trunk} == {id(weight) for weight in joint.network.l2_groups()[0]}
    weights = [parameter for parameter in joint.parameters() if parameter.ndim == 4]
    assert {id(weight) for weight in trunk + others} == {id(weight) for weight in weights}
    assert len(trunk + others) == len(weights)


@pytest.mark.parametrize("other", [denoiser(input_px=80), denoiser(num_points=4)], ids=["size", "points"])
def test_joint_of_incompatible_networks_is_refused(joint: JointModel, other: Denoiser) -> None:
    with pytest.raises(ValueError, match="trained for the same points"):
        JointModel(joint.network, other)(IMAGE)


def test_flip_average_of_flipped_image_is_flipped() -> None:
    network = FlipAverage(build_model(RcnConfig(branches=3, channels=8), num_points=5), FIVE.flip)
    plain, flipped = network(LARGE_IMAGE).softmax(2), network(LARGE_IMAGE.flip(3)).softmax(2)
    torch.testing.assert_close(plain, flipped[:, list(FIVE.flip)].flip(3))


def test_flip_average_averages_probabilities() -> None:
    plain = build_model(RcnConfig(branches=3, channels=8), num_points=5, seed=1)
    probability = [
        plain(image).flatten(2).softmax(2).view(2, 5, 80, 80) for image in (LARGE_IMAGE, LARGE_IMAGE.flip(3))
    ]
    mean = (probability[0] + probability[1][:, [1, 0, 2, 4, 3]].flip(3)) / 2
    actual = FlipAverage(plain, FIVE.flip)(LARGE_IMAGE).flatten(2).softmax(2).view_as(mean)
    torch.testing.assert_close(actual, mean)


@torch.no_grad()
def test_flip_average_averages_points() -> None:
    plain = build_model(TcdcnConfig(auxiliary=True), num_points=5, seed=1)
    actual = FlipAverage(plain, FIVE.flip)(LARGE_IMAGE)
    assert isinstance(actual, TcdcnOutput)
    one, other = plain(LARGE_IMAGE), plain(LARGE_IMAGE.flip(3))
    assert actual.points_bk2[0, 0, 0].item() == pytest.approx(
        float(one.points_bk2[0, 0, 0] + 1 - other.points_bk2[0, 1, 0]) / 2
    )
    assert actual.points_bk2[1, 3, 1].item() == pytest.approx(
        float(one.points_bk2[1, 3, 1] + other.points_bk2[1, 4, 1]) / 2
    )
    torch.testing.assert_close(actual.attributes_logits["pose"], one.attributes_logits["pose"])
