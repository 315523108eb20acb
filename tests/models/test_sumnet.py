from __future__ import annotations

import pytest
import torch

from rcn_search.config.schema import SumNetConfig
from rcn_search.models import build_model
from rcn_search.models.blocks import upsample
from rcn_search.models.complexity import count_parameters
from rcn_search.models.sumnet import SumNet, sum_upsampled


@pytest.mark.parametrize(
    ("branches", "weights", "expected"),
    [
        (4, "map", 99_112),
        (4, "pixel", 227_092),
        (5, "map", 142_850),
        (5, "pixel", 302_825),
        (6, "map", 186_588),
        (6, "pixel", 378_558),
    ],
)
def test_sumnet_parameter_counts(branches: int, weights: str, expected: int) -> None:
    model = build_model(SumNetConfig(branches=branches, fusion_weights=weights), num_points=5)
    assert count_parameters(model) == expected


@pytest.mark.parametrize(
    ("branches", "weights", "expected"),
    [(5, "map", 603_368), (5, "pixel", 2_779_028), (6, "map", 716_528), (6, "pixel", 3_327_320)],
)
def test_sumnet_parameter_counts_of_300w_preset(branches: int, weights: str, expected: int) -> None:
    model = build_model(SumNetConfig(layer_preset="300w", branches=branches, fusion_weights=weights), num_points=68)
    assert count_parameters(model) == expected


@pytest.mark.parametrize("sides_px", [[80], [80, 40, 20, 10, 5], [80, 40, 20, 10, 5, 2], [40, 20, 10, 5, 2, 1]])
def test_weighted_sum_equals_tiling_every_map(sides_px: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, side, side, generator=generator, dtype=torch.double) for side in sides_px]
    finest = sides_px[0]
    # A pixel of the finest map lies in the tile of its own index, scaled down.
    expected = sum(
        m[..., (torch.arange(finest) * side // finest)[:, None], torch.arange(finest) * side // finest]
        for m, side in zip(maps, sides_px, strict=True)
    )
    torch.testing.assert_close(sum_upsampled(maps, finest), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sides_px", [[40], [20, 10], [5, 2], [40, 20, 5, 2]])
def test_weighted_sum_without_finest_map(sides_px: list[int]) -> None:
    maps = [torch.randn(2, 3, side, side, dtype=torch.double) for side in sides_px]
    expected = sum(upsample(m, 80) for m in maps)
    torch.testing.assert_close(sum_upsampled(maps, 80), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weights", ["map", "pixel"])
def test_sumnet_forward_is_the_weighted_sum(weights: str) -> None:
    model = build_model(SumNetConfig(fusion_weights=weights), num_points=5)
    assert isinstance(model, SumNet)
    image = torch.randn(2, 1, 80, 80, generator=torch.Generator().manual_seed(0))
    encoded = model.trunk(image)
    expected = sum(w * upsample(b(e), 80) for w, b, e in zip(model.weights, model.branches, encoded, strict=True))
    torch.testing.assert_close(model(image), expected)


def test_sumnet_fusion_weights_start_uniform() -> None:
    model = build_model(SumNetConfig(fusion_weights="pixel"), num_points=5)
    weights = model.get_parameter("weights")
    assert 0 <= weights.min() < 0.01
    assert 0.99 < weights.max() < 1
    assert abs(weights.mean() - 0.5) < 0.01
    assert all(weights is not weight for group in model.l2_groups() for weight in group)
