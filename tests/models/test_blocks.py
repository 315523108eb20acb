from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rcn_search.models.blocks import (
    LearnedUpsampling,
    Recombination,
    RecombinationForm,
    halve,
    make_upsampling,
    resolutions_px,
    same_conv,
    upsample,
    upsample_bilinear,
    zero_non_pooled,
)


def plain(layer: Recombination, encoded: Tensor, coarse: Tensor) -> Tensor:
    return layer.conv(torch.cat([encoded, layer.upsampling(coarse, encoded.shape[-1])], dim=1))


@pytest.mark.parametrize("form", ["transposed", "separate", "concatenated"])
@pytest.mark.parametrize(("kernel", "side_px"), [(1, 4), (3, 2), (3, 5), (3, 6), (5, 10)])
def test_recombination_equals_convolution_of_the_concatenation(
    kernel: int, side_px: int, form: RecombinationForm
) -> None:
    torch.manual_seed(0)
    layer = Recombination(3, 4, 5, kernel).double()
    encoded = torch.randn(2, 3, side_px, side_px, dtype=torch.double, requires_grad=True)
    coarse = torch.randn(2, 4, side_px // 2, side_px // 2, dtype=torch.double, requires_grad=True)
    inputs = [encoded, coarse, *layer.parameters()]
    cotangent = torch.randn(2, 5, side_px, side_px, dtype=torch.double)

    layer.form = form
    rewritten, expected = layer(encoded, coarse), plain(layer, encoded, coarse)
    torch.testing.assert_close(rewritten, expected, rtol=0, atol=1e-12)
    for actual, expected_grad in zip(
        torch.autograd.grad(rewritten, inputs, cotangent), torch.autograd.grad(expected, inputs, cotangent), strict=True
    ):
        torch.testing.assert_close(actual, expected_grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_recombination_in_bf16_is_close_to_the_plain_form(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer = Recombination(16, 16, 16, 3).to(memory_format=memory_format)
    encoded = torch.randn(2, 16, 20, 20).to(memory_format=memory_format)
    coarse = torch.randn(2, 16, 10, 10).to(memory_format=memory_format)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rewritten = layer(encoded, coarse)
    assert rewritten.dtype == torch.bfloat16
    assert not torch.equal(rewritten.float(), plain(layer, encoded, coarse))
    assert rewritten.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(rewritten.float(), plain(layer, encoded, coarse), rtol=0, atol=0.03)


def test_upsample_from_two_to_five_pixels_repeats_and_crops() -> None:
    coarse = torch.arange(4.0).view(1, 1, 2, 2)
    tiled = coarse.repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)[:, :, :5, :5]
    assert torch.equal(upsample(coarse, 5), tiled)


def test_recombination_rewrites_only_tiling(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_concatenation(*_: object, **__: object) -> Tensor:
        raise AssertionError

    monkeypatch.setattr(torch, "cat", no_concatenation)
    encoded, coarse = torch.randn(2, 3, 6, 6), torch.randn(2, 4, 3, 3)
    Recombination(3, 4, 5, 3)(encoded, coarse)
    for upsampling in (upsample_bilinear, LearnedUpsampling(3, 6)):
        with pytest.raises(AssertionError):
            Recombination(3, 4, 5, 3, upsampling)(encoded, coarse)


def test_upsample_bilinear_keeps_range_and_mean() -> None:
    coarse = torch.tensor([[[[0.0, 4.0], [8.0, 12.0]]]])
    assert upsample_bilinear(coarse, 4)[0, 0, 0].tolist() == [0, 1, 3, 4]
    assert upsample_bilinear(coarse, 5).mean() == 6


def test_learned_upsampling_with_ones_equals_tiling() -> None:
    """The kernel is 1 on the tile of a pixel, and 0 before it."""
    for coarse_px, fine_px in ((3, 6), (2, 5), (2, 16)):
        layer = make_upsampling("learned", coarse_px, fine_px)
        assert isinstance(layer, LearnedUpsampling)
        start = layer.factor - 1
        with torch.no_grad():
            layer.kernel.zero_()[start:, start:] = 1
        maps = torch.randn(2, 3, coarse_px, coarse_px)
        torch.testing.assert_close(layer(maps, fine_px), upsample(maps, fine_px))


def test_learned_upsampling_of_bf16_maps_is_computed_in_fp32() -> None:
    layer = LearnedUpsampling(4, 8)
    with torch.no_grad():
        layer.kernel.fill_(1 + 2**-10)  # 1 in bf16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fine = layer(torch.full((1, 2, 4, 4), 512.0), 8)
        assert fine.dtype == torch.float32
        assert fine[0, 0, 0, 0] == 512.5
        assert layer(torch.ones(1, 2, 4, 4, dtype=torch.bfloat16), 8).dtype == torch.bfloat16


def test_zero_non_pooled_keeps_the_maxima() -> None:
    even = torch.tensor([[[[1.0, 2.0, 0.0, 0.0], [3.0, 3.0, 0.0, -1.0], [5.0, 5.0, 1.0, 4.0], [5.0, 5.0, 2.0, 3.0]]]])
    expected_even = [[0, 0, 0, 0], [3, 3, 0, 0], [5, 5, 0, 4], [5, 5, 0, 0]]
    assert zero_non_pooled(even)[0, 0].tolist() == expected_even
    # The value in the center is the maximum of only one of the four windows over it.
    odd = torch.zeros(1, 1, 5, 5)
    odd[..., 0, 0], odd[..., 0, 4], odd[..., 4, 0], odd[..., 2, 2], odd[..., 3, 3] = 9, 8, 7, 6, 5
    odd[..., 1, 1] = 6  # not a maximum
    expected = odd.clone()
    expected[..., 1, 1] = expected[..., 3, 3] = 0
    assert torch.equal(zero_non_pooled(odd), expected)


def test_zero_non_pooled_gradient_is_zero_elsewhere() -> None:
    maps = torch.randn(2, 3, 6, 6, requires_grad=True)
    pooled = zero_non_pooled(maps)
    pooled.sum().backward()
    assert maps.grad is not None
    assert torch.equal(maps.grad, (pooled != 0).float())
    assert maps.grad.sum() == 2 * 3 * 9


def test_halve_of_odd_side_overlaps() -> None:
    rows = torch.arange(25.0).view(1, 1, 5, 5)
    assert halve(rows).tolist() == [[[[12, 14], [22, 24]]]]
    assert halve(rows[..., :4, :4]).tolist() == [[[[6, 8], [16, 18]]]]


def test_resolutions_px() -> None:
    assert resolutions_px(80, 7) == [80, 40, 20, 10, 5, 2, 1]
    assert resolutions_px(40, 6) == [40, 20, 10, 5, 2, 1]
    with pytest.raises(ValueError, match="at most 6"):
        resolutions_px(40, 7)
    assert resolutions_px(100, 7) == [100, 50, 25, 12, 6, 3, 1]
    assert resolutions_px(256, 9)[-2:] == [2, 1]
    for side_px in (38, 81, 258):
        with pytest.raises(ValueError, match="40 to 256 pixels, an even number"):
            resolutions_px(side_px, 5)


def test_upsampling_to_a_side_that_is_no_multiple_keeps_its_place() -> None:
    """A map whose middle is bright has a bright middle, whatever way it is upsampled."""
    coarse = torch.zeros(1, 1, 12, 12)
    coarse[..., 5:7, 5:7] = 1
    for kind in ("tile", "bilinear", "learned"):
        upsampling = make_upsampling(kind, 12, 25)
        if isinstance(upsampling, LearnedUpsampling):
            assert upsampling.kernel.shape == (3, 3)
            upsampling.kernel = torch.nn.Parameter(torch.tensor([[0.0, 0, 0], [0, 1, 1], [0, 1, 1]]))
        fine = upsampling(coarse, 25)[0, 0].detach()
        assert fine.shape == (25, 25)
        center = (fine.sum(0) * (torch.arange(25) + 0.5)).sum() / fine.sum()
        assert abs(center.item() - 12.5) < 0.7, kind


def test_same_conv_keeps_the_resolution() -> None:
    for kernel in (1, 3, 5):
        assert same_conv(1, 2, kernel)(torch.zeros(1, 1, 6, 6)).shape == (1, 2, 6, 6)
