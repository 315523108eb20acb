from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rcn_search.models.blocks import Recombination, halve, resolutions_px, same_conv, upsample


def plain(layer: Recombination, encoded: Tensor, coarse: Tensor) -> Tensor:
    return layer.conv(torch.cat([encoded, upsample(coarse, encoded.shape[-1])], dim=1))


@pytest.mark.parametrize(("kernel", "side_px"), [(1, 4), (3, 2), (3, 5), (3, 6), (5, 10)])
def test_recombination_equals_the_convolution_over_the_concatenation(kernel: int, side_px: int) -> None:
    torch.manual_seed(0)
    layer = Recombination(3, 4, 5, kernel).double()
    encoded = torch.randn(2, 3, side_px, side_px, dtype=torch.double, requires_grad=True)
    coarse = torch.randn(2, 4, side_px // 2, side_px // 2, dtype=torch.double, requires_grad=True)
    inputs = [encoded, coarse, *layer.parameters()]
    cotangent = torch.randn(2, 5, side_px, side_px, dtype=torch.double)

    rewritten, expected = layer(encoded, coarse), plain(layer, encoded, coarse)
    torch.testing.assert_close(rewritten, expected, rtol=0, atol=1e-12)
    for actual, wanted in zip(
        torch.autograd.grad(rewritten, inputs, cotangent), torch.autograd.grad(expected, inputs, cotangent), strict=True
    ):
        torch.testing.assert_close(actual, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_recombination_in_bf16_stays_close_to_the_plain_form(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer = Recombination(16, 16, 16, 3).to(memory_format=memory_format)
    encoded = torch.randn(2, 16, 20, 20).to(memory_format=memory_format)
    coarse = torch.randn(2, 16, 10, 10).to(memory_format=memory_format)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rewritten = layer(encoded, coarse)
    assert rewritten.dtype == torch.bfloat16
    assert rewritten.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(rewritten.float(), plain(layer, encoded, coarse), rtol=0, atol=0.03)


def test_upsampling_from_two_to_five_repeats_thrice_and_crops() -> None:
    coarse = torch.arange(4.0).view(1, 1, 2, 2)
    tiled = coarse.repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)[:, :, :5, :5]
    assert torch.equal(upsample(coarse, 5), tiled)


def test_pooling_of_an_odd_side_overlaps() -> None:
    rows = torch.arange(25.0).view(1, 1, 5, 5)
    assert halve(rows).tolist() == [[[[12, 14], [22, 24]]]]
    assert halve(rows[..., :4, :4]).tolist() == [[[[6, 8], [16, 18]]]]


def test_resolutions() -> None:
    assert resolutions_px(80, 7) == [80, 40, 20, 10, 5, 2, 1]
    assert resolutions_px(40, 6) == [40, 20, 10, 5, 2, 1]
    with pytest.raises(ValueError, match="at most 6"):
        resolutions_px(40, 7)
    with pytest.raises(ValueError, match="40 or 80"):
        resolutions_px(96, 5)


def test_a_convolution_keeps_the_resolution() -> None:
    for kernel in (1, 3, 5):
        assert same_conv(1, 2, kernel)(torch.zeros(1, 1, 6, 6)).shape == (1, 2, 6, 6)
