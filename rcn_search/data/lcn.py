"""Local contrast normalisation (rcn.md 2.4): the first operation of every network here, without parameters.

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
    """The one-dimensional, normalised 9-pixel Gaussian; its outer product with itself is the paper's 9x9 kernel."""
    offset = torch.arange(KERNEL_PX, dtype=torch.float64) - KERNEL_PX // 2
    weight = torch.exp(-(offset**2) / (2 * SIGMA_PX**2))
    return weight / weight.sum()


@lru_cache(maxsize=16)
def _blur_matrix(size_px: int, device: torch.device) -> Tensor:
    """Banded (size, size) matrix M: M x M^T blurs x with zero padding. Faster than a convolution on CPU (speed.md)."""
    kernel = gaussian_kernel()
    matrix = torch.zeros(size_px, size_px, dtype=torch.float64)
    for tap, weight in enumerate(kernel):
        matrix += torch.diag(weight.expand(size_px - abs(tap - KERNEL_PX // 2)), tap - KERNEL_PX // 2)
    return matrix.to(device=device, dtype=torch.float32)


def contrast_normalise(image_bchw: Tensor, threshold: Literal["image", "batch", "none"]) -> Tensor:
    """Centre and scale each pixel by its Gaussian neighbourhood, each channel by itself.

    Args:
        image_bchw: Float values 0..255, square images.
        threshold: The floor of the local deviation: its mean over each ``image`` (so that no image depends on its
            batch) or over the ``batch`` as in the paper's code. ``none``: plain standardisation of each image.

    Returns:
        (b, c, h, w), centred at 0.5 where there is no contrast (at 0 for ``none``).
    """
    if threshold == "none":
        centred = image_bchw - image_bchw.mean(dim=(2, 3), keepdim=True)
        return centred / (centred.square().mean(dim=(2, 3), keepdim=True).sqrt() + 1e-7)
    blur = _blur_matrix(image_bchw.shape[-1], image_bchw.device)
    centred = image_bchw - blur @ image_bchw @ blur.T
    deviation = (blur @ centred.square() @ blur.T).clamp_(min=0).sqrt_()
    floor = deviation.mean(dim=(2, 3) if threshold == "image" else (0, 2, 3), keepdim=True)
    # An image without any contrast (all black) has deviation and floor 0: 0/tiny, not 0/0.
    scale = torch.maximum(deviation, floor).clamp_(min=1e-7)
    return (centred / scale).add_(2.5).div_(5.0)
