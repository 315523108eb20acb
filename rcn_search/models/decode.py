"""From a model's output to keypoints of its input window.

Shape letters: b images, k points, h rows, w columns of the maps (square).
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from rcn_search.config.schema import Decoder
from rcn_search.models.tcdcn import TcdcnOutput

REFINE_PX = 5
"""Side of the neighbourhood of a peak whose mean position is the sub-pixel prediction."""


def peak_cells(logits_bkhw: Tensor) -> Tensor:
    """Column and row of the largest logit of each map: (b, k, 2) int64 (rcn.md 8). The first of equal ones."""
    size_px = logits_bkhw.shape[-1]
    index_bk = logits_bkhw.flatten(2).argmax(dim=2)
    return torch.stack([index_bk % size_px, index_bk // size_px], dim=2)


@lru_cache(maxsize=8)
def _distance_spectrum(size_px: int, device: torch.device) -> Tensor:
    """Transform of the distance from the middle of a (2 size, 2 size) grid."""
    offset = torch.arange(2 * size_px, device=device) - (size_px - 1)
    distance = torch.hypot(offset[:, None].float(), offset[None, :].float())
    spectrum: Tensor = torch.fft.rfft2(distance)
    return spectrum


def median_cells(logits_bkhw: Tensor) -> Tensor:
    """The cell of each map with the least expected distance to the point: (b, k, 2) int64, column and row.

    Where the map says how likely each cell is, no other answer has a lower expected error. A peak ignores all of the
    map but one cell; this is its spatial median. A convolution with the distance, done by FFT.
    """
    size_px = logits_bkhw.shape[-1]
    probability = logits_bkhw.flatten(2).softmax(dim=2).view_as(logits_bkhw)
    spectrum = torch.fft.rfft2(probability, s=(2 * size_px, 2 * size_px))
    spread = torch.fft.irfft2(spectrum * _distance_spectrum(size_px, logits_bkhw.device), s=(2 * size_px,) * 2)
    expected_bkhw = spread[..., size_px - 1 : 2 * size_px - 1, size_px - 1 : 2 * size_px - 1]
    index_bk = expected_bkhw.flatten(2).argmin(dim=2)
    return torch.stack([index_bk % size_px, index_bk // size_px], dim=2)


def mean_points(logits_bkhw: Tensor) -> Tensor:
    """Mean position of the probability of each map: (b, k, 2), 0..1 across the window."""
    size_px = logits_bkhw.shape[-1]
    probability = logits_bkhw.flatten(2).softmax(dim=2).view_as(logits_bkhw)
    centre = (torch.arange(size_px, device=logits_bkhw.device, dtype=probability.dtype) + 0.5) / size_px
    return torch.stack([probability.sum(2) @ centre, probability.sum(3) @ centre], dim=2)


def point_cells(points_bk2: Tensor, size_px: int) -> Tensor:
    """The cell that holds each point of the window, clamped into it (rcn.md 5): (b, k, 2) int64.

    Args:
        points_bk2: 0..1 across the window, or beyond it.
        size_px: Cells along a side.
    """
    return (points_bk2.clamp(0, 0.99999) * size_px).floor().long()


def refine_peaks(logits_bkhw: Tensor, cells_bk2: Tensor) -> tuple[Tensor, Tensor]:
    """Mean position of the probability around each given cell, and how much of it lies there.

    Returns:
        Points (b, k, 2), 0..1 across the window, and confidence (b, k), the probability within 5x5 cells.
    """
    size_px = logits_bkhw.shape[-1]
    half = REFINE_PX // 2
    log_total_bk = logits_bkhw.flatten(2).logsumexp(dim=2)
    padded = F.pad(logits_bkhw, (half,) * 4, value=float("-inf"))
    offset = torch.arange(REFINE_PX, device=logits_bkhw.device)
    rows = cells_bk2[..., 1, None, None] + offset[:, None]
    columns = cells_bk2[..., 0, None, None] + offset[None, :]
    index = (rows * padded.shape[-1] + columns).flatten(2)
    near_bkp = padded.flatten(2).gather(2, index)
    weight_bkp = near_bkp.softmax(dim=2)
    step = (offset - half).to(weight_bkp.dtype)
    shift_x = (weight_bkp * step.repeat(REFINE_PX)).sum(2)
    shift_y = (weight_bkp * step.repeat_interleave(REFINE_PX)).sum(2)
    points = (cells_bk2 + 0.5 + torch.stack([shift_x, shift_y], dim=2)) / size_px
    return points, (near_bkp.logsumexp(dim=2) - log_total_bk).exp()


def default_decoder(loss_head: str) -> Decoder:
    """Return the decoder that fits how a loss trains the maps."""
    return "soft-argmax" if loss_head == "l2" else "argmax"


def predicted_cells(output: Tensor | TcdcnOutput, size_px: int, decoder: Decoder = "argmax") -> Tensor:
    """Predicted cells (b, k, 2) of either kind of model."""
    if not isinstance(output, Tensor):
        return point_cells(output.points_bk2, size_px)
    if decoder == "soft-argmax":
        return point_cells(mean_points(output), size_px)
    return peak_cells(output) if decoder == "argmax" else median_cells(output)


def predicted_points(
    output: Tensor | TcdcnOutput, cells_bk2: Tensor, decoder: Decoder = "argmax"
) -> tuple[Tensor, Tensor]:
    """Sub-pixel points (b, k, 2), 0..1 across the window, and confidence (b, k) of either kind of model.

    A regressor has no confidence of its own: it is 1.
    """
    if not isinstance(output, Tensor):
        return output.points_bk2, torch.ones_like(output.points_bk2[..., 0])
    points_bk2, confidence_bk = refine_peaks(output, cells_bk2)
    return (mean_points(output) if decoder == "soft-argmax" else points_bk2), confidence_bk
