from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from rcn_search.config.schema import TcdcnConfig
from rcn_search.models import build_model
from rcn_search.models.complexity import count_parameters
from rcn_search.models.tcdcn import TcdcnOutput, _average_to


@pytest.mark.parametrize(("auxiliary", "expected"), [(False, 78_246), (True, 79_357)])
def test_tcdcn_parameter_counts(auxiliary: bool, expected: int) -> None:
    assert count_parameters(build_model(TcdcnConfig(auxiliary=auxiliary), num_points=5)) == expected


def test_tcdcn_auxiliary_heads() -> None:
    output: TcdcnOutput = build_model(TcdcnConfig(auxiliary=True), num_points=5)(torch.zeros(3, 1, 80, 80))
    shapes = {name: tuple(logits.shape) for name, logits in output.attributes_logits.items()}
    assert shapes == {"gender": (3, 2), "smile": (3, 2), "glasses": (3, 2), "pose": (3, 5)}
    assert build_model(TcdcnConfig(), num_points=5)(torch.zeros(3, 1, 80, 80)).attributes_logits == {}


def test_tcdcn_points_start_at_the_center() -> None:
    model = build_model(TcdcnConfig(), num_points=68)
    points_bk2 = model(torch.zeros(1, 1, 80, 80)).points_bk2
    assert torch.equal(points_bk2, torch.full((1, 68, 2), 0.5))  # only biases matter for a uniform image


def test_tcdcn_averages_80_pixels_to_40() -> None:
    image = torch.randn(2, 1, 80, 80, generator=torch.Generator().manual_seed(0))
    model = build_model(TcdcnConfig(), num_points=5)
    expected = model(F.interpolate(image, scale_factor=0.5, mode="area"))
    torch.testing.assert_close(model(image).points_bk2, expected.points_bk2)


def test_tcdcn_forward_equals_the_paper() -> None:
    """|tanh| follows each convolution and the shared layer; 2x2 max pooling is between convolutions."""
    image = torch.randn(2, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    model = build_model(TcdcnConfig(), num_points=5)
    maps = image
    for level, conv in enumerate(model.trunk):
        pooled = F.max_pool2d(maps, 2) if level else maps
        maps = torch.abs(torch.tanh(F.conv2d(pooled, conv.weight, conv.bias)))
    features = torch.abs(torch.tanh(maps.flatten(1) @ model.shared.weight.T + model.shared.bias))
    points = features @ model.points.weight.T + model.points.bias
    torch.testing.assert_close(model(image).points_bk2, points.view(2, 5, 2))


def test_tcdcn_points_are_fp32_under_autocast() -> None:
    model = build_model(TcdcnConfig(auxiliary=True), num_points=5)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(torch.randn(2, 1, 80, 80))
    assert {output.points_bk2.dtype, *(logits.dtype for logits in output.attributes_logits.values())} == {torch.float32}


def test_tcdcn_with_an_odd_input_size_is_refused() -> None:
    with pytest.raises(ValueError, match="40 to 256"):
        build_model(TcdcnConfig(), num_points=5, input_px=65)


def test_tcdcn_averages_inputs_of_any_side_over_the_area_of_a_pixel() -> None:
    image = torch.rand(2, 1, 50, 50, generator=torch.Generator().manual_seed(1))
    # Pixels of 50 / 40 = 1.25 input pixels, by the means of 5 x 5 equal parts of each input pixel, of 4 x 4 each.
    fine = image.repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(_average_to(image, 40), F.avg_pool2d(fine, 5))
    assert torch.equal(_average_to(image[..., :40, :40], 20), F.avg_pool2d(image[..., :40, :40], 2))
