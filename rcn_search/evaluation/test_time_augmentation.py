"""Nine looks at a face, through windows turned and scaled a little; what the network says of all of them is averaged.

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

TURNS_DEG = (0.0, -10.0, 10.0)
SCALES = (1.0, 0.92, 1.08)
NUM_VIEWS = len(TURNS_DEG) * len(SCALES)
"""Chosen on validation images (docs/explanation/results-aflw.md); windows that do not lie evenly around the face box are worse."""
_TINY = 1e-12
"""Probability of a cell that no view shows."""


def views_of(frame: InputWindow) -> list[InputWindow]:
    """The nine windows; the first is ``frame`` itself."""
    centre_b2, axes_b22 = frame
    turned = []
    for degrees in TURNS_DEG:
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        turned += [axes_b22 @ axes_b22.new_tensor([[cosine, -sine], [sine, cosine]]) * scale for scale in SCALES]
    return [InputWindow(centre_b2, each_b22) for each_b22 in turned]


def mean_of_views(outputs: Sequence[Tensor | TcdcnOutput], frames: Sequence[InputWindow]) -> Tensor | TcdcnOutput:
    """What the views say together, in the window of the first; a single one is returned as it is.

    Maps are averaged as probabilities, coordinates as they are; attributes are those of the first view.
    """
    first, window = outputs[0], frames[0]
    if len(outputs) == 1:
        return first
    if isinstance(first, TcdcnOutput):
        points = [
            warp_points(unwarp_points(output.points_bk2, frame), window)
            for output, frame in zip(outputs, frames, strict=True)
            if isinstance(output, TcdcnOutput)
        ]
        return TcdcnOutput(torch.stack(points).mean(0), first.attributes_logits)
    total = torch.zeros_like(first)
    for output, frame in zip(outputs, frames, strict=True):
        assert isinstance(output, Tensor)
        total += _seen_from(window, output.flatten(2).softmax(2).view_as(output), frame)
    return (total / len(outputs)).clamp(min=_TINY).log()


def _seen_from(window: InputWindow, density_bkhw: Tensor, frame: InputWindow) -> Tensor:
    """A density over the cells of ``frame`` as one over those of ``window``; what lies outside is lost."""
    inverse = torch.linalg.inv(frame.axes_b22)
    axes_b22 = inverse @ window.axes_b22
    shift_b2 = (inverse @ (window.center_b2 - frame.center_b2)[:, :, None])[:, :, 0]
    theta = torch.cat([axes_b22, shift_b2[:, :, None]], dim=2)
    grid = F.affine_grid(theta, list(density_bkhw.shape), align_corners=False)
    moved: Tensor = F.grid_sample(density_bkhw, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    moved *= torch.linalg.det(axes_b22).abs()[:, None, None, None]
    return moved
