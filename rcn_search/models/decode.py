"""Decode the output of a network to keypoints of its input window (docs/explanation/model-specification.md).

Shape letters: b images, k points, h rows, w columns of the maps (square).
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from rcn_search.config.schema import Decoder
from rcn_search.models.tcdcn import TcdcnOutput

REFINE_PX = 5  # side of the neighborhood of a predicted cell whose mean position is the sub-pixel prediction


def argmax_cells(logits_bkhw: Tensor) -> Tensor:
    """Find the column and row of the largest logit of each map, the first of equal ones: (b, k, 2) int64."""
    size_px = logits_bkhw.shape[-1]
    index_bk = logits_bkhw.flatten(2).argmax(dim=2)
    return torch.stack([index_bk % size_px, index_bk // size_px], dim=2)


@lru_cache(maxsize=8)
def _distance_spectrum(size_px: int, device: torch.device) -> Tensor:
    """Compute the Fourier transform of the distance from the center of a grid (2 size, 2 size)."""
    offset = torch.arange(2 * size_px, device=device) - (size_px - 1)
    distance = torch.hypot(offset[:, None].float(), offset[None, :].float())
    spectrum: Tensor = torch.fft.rfft2(distance)
    return spectrum


def median_cells(logits_bkhw: Tensor) -> Tensor:
    """Find the cell of each map with the smallest expected distance to the point: (b, k, 2) int64, column and row.

    This spatial median has the lowest expected error if the map gives the true probabilities; it is computed by FFT.
    """
    size_px = logits_bkhw.shape[-1]
    probability = logits_bkhw.flatten(2).softmax(dim=2).view_as(logits_bkhw)
    spectrum = torch.fft.rfft2(probability, s=(2 * size_px, 2 * size_px))
    convolved = torch.fft.irfft2(spectrum * _distance_spectrum(size_px, logits_bkhw.device), s=(2 * size_px,) * 2)
    expected_bkhw = convolved[..., size_px - 1 : 2 * size_px - 1, size_px - 1 : 2 * size_px - 1]
    index_bk = expected_bkhw.flatten(2).argmin(dim=2)
    return torch.stack([index_bk % size_px, index_bk // size_px], dim=2)


def soft_argmax_points(logits_bkhw: Tensor) -> Tensor:
    """Compute the mean position under the softmax of each map: (b, k, 2) in window coordinates 0..1."""
    size_px = logits_bkhw.shape[-1]
    probability = logits_bkhw.flatten(2).softmax(dim=2).view_as(logits_bkhw)
    center = (torch.arange(size_px, device=logits_bkhw.device, dtype=probability.dtype) + 0.5) / size_px
    return torch.stack([probability.sum(2) @ center, probability.sum(3) @ center], dim=2)


def point_cells(points_bk2: Tensor, size_px: int) -> Tensor:
    """Find the cell of each point in window coordinates, clamped to the window: (b, k, 2) int64, column and row."""
    return (points_bk2.clamp(0.0, 0.99999) * size_px).floor().long()


def refine_cells(logits_bkhw: Tensor, cells_bk2: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean position under the softmax within 5x5 cells around each given cell.

    Returns points (b, k, 2) in window coordinates, and confidence (b, k), the probability within the 5x5 cells.
    """
    size_px = logits_bkhw.shape[-1]
    half = REFINE_PX // 2
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
    return points, (near_bkp.logsumexp(dim=2) - logits_bkhw.flatten(2).logsumexp(dim=2)).exp()


def default_decoder(loss_name: str) -> Decoder:
    """Choose the decoder that suits the loss with which a network was trained."""
    return "soft-argmax" if loss_name in ("l2", "wing") else "argmax"


def predicted_cells(output: Tensor | TcdcnOutput, size_px: int, decoder: Decoder = "argmax") -> Tensor:
    """Decode the output of either kind of network to cells (b, k, 2) int64, column and row."""
    if not isinstance(output, Tensor):
        return point_cells(output.points_bk2, size_px)
    if decoder == "soft-argmax":
        return point_cells(soft_argmax_points(output), size_px)
    return argmax_cells(output) if decoder == "argmax" else median_cells(output)


def predicted_points(
    output: Tensor | TcdcnOutput, cells_bk2: Tensor, decoder: Decoder = "argmax"
) -> tuple[Tensor, Tensor]:
    """Compute sub-pixel points (b, k, 2) in window coordinates, and confidence (b, k), for either kind of network.

    TCDCN gives no confidence; it is set to 1. The cells are those of `predicted_cells` with the same decoder.
    """
    if not isinstance(output, Tensor):
        return output.points_bk2, torch.ones_like(output.points_bk2[..., 0])
    points_bk2, confidence_bk = refine_cells(output, cells_bk2)
    return (soft_argmax_points(output) if decoder == "soft-argmax" else points_bk2), confidence_bk
