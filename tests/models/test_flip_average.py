from __future__ import annotations

import pytest
import torch

from rcn_search.config.schema import RcnConfig, TcdcnConfig
from rcn_search.keypoints import FIVE
from rcn_search.models import build_model
from rcn_search.models.flip_average import FlipAverage
from rcn_search.models.tcdcn import TcdcnOutput

IMAGE = torch.rand(2, 1, 80, 80, generator=torch.Generator().manual_seed(0))


def test_flip_average_of_flipped_image_is_flipped() -> None:
    network = FlipAverage(build_model(RcnConfig(branches=3, channels=8), num_points=5), FIVE.flip)
    plain, flipped = network(IMAGE).softmax(2), network(IMAGE.flip(3)).softmax(2)
    torch.testing.assert_close(plain, flipped[:, list(FIVE.flip)].flip(3))


def test_flip_average_averages_probabilities() -> None:
    plain = build_model(RcnConfig(branches=3, channels=8), num_points=5, seed=1)
    probability = [plain(image).flatten(2).softmax(2).view(2, 5, 80, 80) for image in (IMAGE, IMAGE.flip(3))]
    mean = (probability[0] + probability[1][:, [1, 0, 2, 4, 3]].flip(3)) / 2
    actual = FlipAverage(plain, FIVE.flip)(IMAGE).flatten(2).softmax(2).view_as(mean)
    torch.testing.assert_close(actual, mean)


@torch.no_grad()
def test_flip_average_averages_points() -> None:
    plain = build_model(TcdcnConfig(auxiliary=True), num_points=5, seed=1)
    actual = FlipAverage(plain, FIVE.flip)(IMAGE)
    assert isinstance(actual, TcdcnOutput)
    one, other = plain(IMAGE), plain(IMAGE.flip(3))
    assert actual.points_bk2[0, 0, 0].item() == pytest.approx(
        float(one.points_bk2[0, 0, 0] + 1 - other.points_bk2[0, 1, 0]) / 2
    )
    assert actual.points_bk2[1, 3, 1].item() == pytest.approx(
        float(one.points_bk2[1, 3, 1] + other.points_bk2[1, 4, 1]) / 2
    )
    torch.testing.assert_close(actual.attributes_logits["pose"], one.attributes_logits["pose"])
