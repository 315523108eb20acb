"""Wing loss of coordinates, and Adaptive Wing loss of heatmaps.

Shape letters: b images, k points, h rows, w columns of the maps (square).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH_PX, CURVATURE_PX = 10.0, 2.0
"""Constants w and epsilon of the Wing loss (Feng et al., CVPR 2018, table 3)."""
ALPHA, OMEGA, EPSILON, THETA = 2.1, 14.0, 1.0, 0.5
"""Constants of the Adaptive Wing loss (Wang et al., ICCV 2019, sec. 4.2)."""
FOREGROUND, FOREGROUND_WEIGHT = 0.2, 10.0
"""Pixels of the dilated target from this value on count so much more (ibid., sec. 4.3)."""


def wing(error_px: Tensor) -> Tensor:
    """Compute the Wing loss of differences in pixels: a logarithm near zero, beyond 10 pixels the absolute value.

    Feng et al., Wing Loss for Robust Facial Landmark …, CVPR 2018 (arXiv 1711.06753), eq. 5.
    """
    size = error_px.abs()
    offset = WIDTH_PX - WIDTH_PX * math.log1p(WIDTH_PX / CURVATURE_PX)
    return torch.where(size < WIDTH_PX, WIDTH_PX * torch.log1p(size / CURVATURE_PX), size - offset)


def wing_points(predicted_bk2: Tensor, points_bk2: Tensor, side_px: int) -> Tensor:
    """Compute the Wing loss (b, k) of points in window coordinates, summed over x and y, in pixels of the input."""
    return wing((predicted_bk2.float() - points_bk2) * side_px).sum(2)


def gaussian_targets(points_bk2: Tensor, side_px: int, sigma_px: float) -> Tensor:
    """Draw heatmaps (b, k, h, h) with the value 1 at each point; points outside the window are moved to its border."""
    center_bk2 = points_bk2.clamp(0, 0.99999) * side_px - 0.5
    pixel = torch.arange(side_px, device=points_bk2.device, dtype=center_bk2.dtype)
    bell_bk2p = torch.exp(-((pixel - center_bk2[..., None]) ** 2) / (2 * sigma_px**2))
    return bell_bk2p[:, :, 1, :, None] * bell_bk2p[:, :, 0, None, :]


def adaptive_wing(heatmap_bkhw: Tensor, target_bkhw: Tensor) -> Tensor:
    """Compute the weighted Adaptive Wing loss of heatmaps with values 0..1: (b, k), the mean over the pixels of each.

    Wang et al., Adaptive Wing Loss for Robust Face Alignment via Heatmap Regression, ICCV 2019 (arXiv 1904.07399),
    eq. 3 and sec. 4.3.
    """
    difference = (target_bkhw - heatmap_bkhw).abs()
    power = ALPHA - target_bkhw
    ratio = THETA / EPSILON
    slope = OMEGA / (1 + ratio**power) * power * ratio ** (power - 1) / EPSILON
    offset = THETA * slope - OMEGA * torch.log1p(ratio**power)
    # The gradient of a power is infinite at zero where the exponent is below 2, as at the peak of a target.
    near = OMEGA * torch.log1p((difference.clamp(min=1e-6) / EPSILON) ** power)
    loss = torch.where(difference < THETA, near, slope * difference - offset)
    dilated = F.max_pool2d(target_bkhw, kernel_size=3, stride=1, padding=1)
    return (loss * (FOREGROUND_WEIGHT * (dilated >= FOREGROUND) + 1)).mean((2, 3))


def adaptive_wing_logits(logits_bkhw: Tensor, points_bk2: Tensor, sigma_px: float) -> Tensor:
    """Compute the Adaptive Wing loss (b, k) of maps of logits, whose heatmaps are their sigmoids.

    The paper's heatmaps are not bounded. As sigmoids they keep the meaning of the maps of all other losses: a softmax
    of them gives the odds of the pixels, so that decoders and confidence stay what they are.
    """
    target_bkhw = gaussian_targets(points_bk2, logits_bkhw.shape[-1], sigma_px)
    return adaptive_wing(logits_bkhw.float().sigmoid(), target_bkhw)
