"""TCDCN (Zhang et al., ECCV 2014), the baseline that regresses coordinates (docs/explanation/model-specification.md).

It has four valid convolutions with shared filters, three poolings and one shared feature vector, with |tanh| as
activation, like public re-implementations. Linear heads predict the points and, as auxiliary tasks, face attributes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rcn_search.config.schema import TcdcnConfig
from rcn_search.models.blocks import Network, check_input_px

INPUT_PX = 40  # side of the input of the first convolution; larger inputs are averaged to this side
ATTRIBUTE_CLASSES = {"gender": 2, "smile": 2, "glasses": 2, "pose": 5}
"""Auxiliary tasks of MTFL, with their numbers of classes."""


class TcdcnOutput(NamedTuple):
    """Predictions for b images."""

    points_bk2: Tensor
    """x, y in window coordinates: 0 is the left or top edge, 1 the right or bottom edge. Not clamped."""
    attributes_logits: dict[str, Tensor]  # logits (b, classes) of each attribute; empty without auxiliary tasks


class TCDCN(Network):
    """Network from contrast-normalized images (b, c, h, h) to a `TcdcnOutput`, with an even h of 40 to 256."""

    trunk: nn.ModuleList

    def __init__(self, config: TcdcnConfig, num_points: int, input_px: int, in_channels: int):
        super().__init__()
        check_input_px(input_px)
        self.trunk = nn.ModuleList(
            [nn.Conv2d(in_channels, 16, 5), nn.Conv2d(16, 48, 3), nn.Conv2d(48, 64, 3), nn.Conv2d(64, 64, 2)]
        )
        self.shared = nn.Linear(64 * 2 * 2, 100)
        self.points = nn.Linear(100, 2 * num_points)
        classes = ATTRIBUTE_CLASSES if config.auxiliary else {}
        self.attributes = nn.ModuleDict({name: nn.Linear(100, count) for name, count in classes.items()})

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Initialize the weights as in every model, but let points start near the center of the window."""
        super().reset_parameters(generator)
        nn.init.constant_(self.points.bias, 0.5)

    def forward(self, image_bchw: Tensor) -> TcdcnOutput:
        """Compute points (b, k, 2) in window coordinates, and logits (b, classes) of each attribute."""
        maps = _average_to(image_bchw, INPUT_PX)
        for level, conv in enumerate(self.trunk):
            maps = conv(F.max_pool2d(maps, 2) if level else maps).tanh().abs()
        # In bf16, coordinates have a precision of a quarter of an input pixel, and training is worse.
        with torch.autocast(image_bchw.device.type, enabled=False):
            features = self.shared(maps.float().flatten(1)).tanh().abs()
            points_bk2 = self.points(features).unflatten(1, (-1, 2))
            return TcdcnOutput(points_bk2, {name: head(features) for name, head in self.attributes.items()})


def _average_to(image_bchw: Tensor, side_px: int) -> Tensor:
    """Average images (b, c, h, h) over the area of each pixel of a smaller image (b, c, side, side)."""
    input_px = image_bchw.shape[-1]
    if input_px % side_px == 0:
        return F.avg_pool2d(image_bchw, input_px // side_px)
    # Share of each input pixel in each output pixel, which is `scale` input pixels wide.
    scale = input_px / side_px
    start = torch.arange(side_px, device=image_bchw.device)[:, None] * scale
    pixel = torch.arange(input_px, device=image_bchw.device)[None]
    share = (torch.minimum(start + scale, pixel + 1) - torch.maximum(start, pixel)).clamp(min=0) / scale
    weight = share.to(image_bchw.dtype)
    return weight @ image_bchw @ weight.T
