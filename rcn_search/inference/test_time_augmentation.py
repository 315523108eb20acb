"""Average the outputs of a network over nine windows of each face, rotated and scaled a little.

Shape letters: b images, k points, h rows, w columns of the maps (square).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rcn_search.data.augment import InputWindow, unwarp_points, warp_points
from rcn_search.models.tcdcn import TcdcnOutput

# Chosen on validation images (docs/explanation/results-aflw.md). Windows that lie unevenly around the box are worse.
ROTATIONS_DEG = (0.0, -10.0, 10.0)
SCALES = (1.0, 0.92, 1.08)
NUM_VIEWS = len(ROTATIONS_DEG) * len(SCALES)
_MIN_PROBABILITY = 1e-12
"""Probability of a cell that no view shows."""


def view_windows(window: InputWindow) -> list[InputWindow]:
    """Return the nine windows; the first is ``window`` itself."""
    center_b2, axes_b22 = window
    views = []
    for degrees in ROTATIONS_DEG:
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        rotated_b22 = axes_b22 @ axes_b22.new_tensor([[cosine, -sine], [sine, cosine]])
        views += [InputWindow(center_b2, rotated_b22 * scale) for scale in SCALES]
    return views


def average_views(outputs: Sequence[Tensor | TcdcnOutput], windows: Sequence[InputWindow]) -> Tensor | TcdcnOutput:
    """Average outputs, one for each window, in the window of the first; a single output is returned as it is.

    Logits (b, k, h, w) are averaged as probabilities, coordinates as they are; attributes are those of the first view.
    """
    first, target = outputs[0], windows[0]
    if len(outputs) == 1:
        return first
    if isinstance(first, TcdcnOutput):
        points = [
            warp_points(unwarp_points(output.points_bk2, window), target)
            for output, window in zip(outputs, windows, strict=True)
            if isinstance(output, TcdcnOutput)
        ]
        return TcdcnOutput(torch.stack(points).mean(0), first.attributes_logits)
    total = torch.zeros_like(first)
    for output, window in zip(outputs, windows, strict=True):
        assert isinstance(output, Tensor)
        total += _resample(output.flatten(2).softmax(2).view_as(output), window, target)
    return (total / len(outputs)).clamp(min=_MIN_PROBABILITY).log()


def _resample(density_bkhw: Tensor, window: InputWindow, target: InputWindow) -> Tensor:
    """Move a density from the cells of ``window`` to those of ``target``; what lies outside is lost."""
    inverse = torch.linalg.inv(window.axes_b22)
    axes_b22 = inverse @ target.axes_b22
    shift_b2 = (inverse @ (target.center_b2 - window.center_b2)[:, :, None])[:, :, 0]
    theta = torch.cat([axes_b22, shift_b2[:, :, None]], dim=2)
    grid = F.affine_grid(theta, list(density_bkhw.shape), align_corners=False)
    moved: Tensor = F.grid_sample(density_bkhw, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    moved *= torch.linalg.det(axes_b22).abs()[:, None, None, None]
    return moved
