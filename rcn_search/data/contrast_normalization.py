"""Local contrast normalization, which precedes every network (docs/explanation/model-specification.md).

Shape letters: b images, c channels, h rows, w columns; the images are square.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

KERNEL_PX = 9
SIGMA_PX = 1.591


def gaussian_kernel() -> Tensor:
    """Build a normalized Gaussian of 9 pixels (float64), whose outer product with itself is the paper's 9x9 kernel."""
    offset = torch.arange(KERNEL_PX, dtype=torch.float64) - KERNEL_PX // 2
    weight = torch.exp(-(offset**2) / (2 * SIGMA_PX**2))
    return weight / weight.sum()


@lru_cache(maxsize=16)
def _blur_matrix(size_px: int, device: torch.device) -> Tensor:
    """Build M, such that M x M^T blurs x with zero padding; two products are faster than a convolution on the CPU."""
    kernel = gaussian_kernel()
    matrix = torch.zeros(size_px, size_px, dtype=torch.float64)
    for tap, weight in enumerate(kernel):
        matrix += torch.diag(weight.expand(size_px - abs(tap - KERNEL_PX // 2)), tap - KERNEL_PX // 2)
    return matrix.to(device=device, dtype=torch.float32)


def contrast_normalize(image_bchw: Tensor, threshold: Literal["image", "batch", "none"]) -> Tensor:
    """Center each pixel on its Gaussian neighborhood, and divide it by the local standard deviation, in each channel.

    The result is 0.5 where there is no contrast (0 for ``none``).

    Args:
        image_bchw: Float values 0..255, square images.
        threshold: Lower limit of the local deviation: its mean over each ``image``, so that no image depends on its
            batch, or its mean over the ``batch`` as in the paper's code. ``none`` standardizes each image as a whole.
    """
    if threshold == "none":
        centered = image_bchw - image_bchw.mean(dim=(2, 3), keepdim=True)
        return centered / (centered.square().mean(dim=(2, 3), keepdim=True).sqrt() + 1e-7)
    blur = _blur_matrix(image_bchw.shape[-1], image_bchw.device)
    centered = image_bchw - blur @ image_bchw @ blur.T
    deviation = (blur @ centered.square() @ blur.T).clamp_(min=0).sqrt_()
    floor = deviation.mean(dim=(2, 3) if threshold == "image" else (0, 2, 3), keepdim=True)
    # The clamp avoids 0/0 for an image without contrast (all black), whose deviation and floor are 0.
    scale = torch.maximum(deviation, floor).clamp_(min=1e-7)
    return (centered / scale).add_(2.5).div_(5.0)
