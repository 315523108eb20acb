from __future__ import annotations

from typing import Literal

import pytest
import torch
import torch.nn.functional as F

from rcn_search.data.contrast_normalization import contrast_normalize, gaussian_kernel


def test_gaussian_kernel_equals_the_paper() -> None:
    kernel = torch.outer(gaussian_kernel(), gaussian_kernel())
    assert kernel[4, 4].item() == pytest.approx(0.063386, abs=1e-6)  # computed from the paper's code
    assert kernel[0, 0].item() == pytest.approx(0.000113987, abs=1e-9)
    assert kernel.sum().item() == pytest.approx(1)


def by_convolution(image_bhw: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    """Compute the definition of docs/explanation/model-specification.md, "Contrast normalization", in float64."""
    kernel = torch.outer(gaussian_kernel(), gaussian_kernel())[None, None]
    x = image_bhw.double()[:, None]
    v = x - F.conv2d(x, kernel, padding=4)
    s = F.conv2d(v**2, kernel, padding=4).sqrt()
    c = s.mean(dim=dims, keepdim=True)
    return ((v / torch.maximum(s, c) + 2.5) / 5)[:, 0]


@pytest.mark.parametrize(("threshold", "dims"), [("image", (1, 2, 3)), ("batch", (0, 1, 2, 3))])
def test_contrast_normalize_equals_convolution(threshold: Literal["image", "batch"], dims: tuple[int, ...]) -> None:
    image_bhw = torch.rand(3, 80, 80, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [[[255.0]], [[40]], [[5]]]
    )
    normalized = contrast_normalize(image_bhw[:, None], threshold)[:, 0]
    torch.testing.assert_close(normalized, by_convolution(image_bhw, dims).float(), atol=2e-5, rtol=0)


def test_contrast_normalize_depends_on_the_batch_only_with_batch_threshold() -> None:
    bright, dim = torch.rand(2, 1, 80, 80, generator=torch.Generator().manual_seed(1))
    both = torch.cat([bright * 255, dim * 10])[:, None]
    torch.testing.assert_close(
        contrast_normalize(both, "image")[1:], contrast_normalize(both[1:], "image"), rtol=0, atol=1e-6
    )
    assert (contrast_normalize(both, "batch")[1:] - contrast_normalize(both[1:], "batch")).abs().max() > 0.1


def test_contrast_normalize_of_black_image_is_one_half() -> None:
    torch.testing.assert_close(contrast_normalize(torch.zeros(1, 1, 80, 80), "image"), torch.full((1, 1, 80, 80), 0.5))
