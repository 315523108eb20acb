"""SumNet (Honari et al., CVPR 2016, section 3.1; layer lists in rcn.md 4.5).

The same encoder as the Recombinator Network, but each resolution makes keypoint maps of its own, and the logits are a
learned weighted sum of all of them. Coarse and fine features meet in that sum only.

In the released code the convolutions of a sixth branch are never trained; here every parameter is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rcn_search.config import SumNetConfig
from rcn_search.models.blocks import Encoder, Network, kernel_size, resolutions_px, same_conv, upsample

CHANNELS = (16, 32, 48, 48, 48, 48)
"""Width of the encoder and of the branch at each resolution, finest first."""


class SumNet(Network):
    """Contrast-normalised image (b, 1, h, h) to keypoint logits (b, k, h, h), for h of 80 or 40 pixels."""

    def __init__(self, config: SumNetConfig, num_points: int, input_px: int):
        super().__init__()
        sides_px = resolutions_px(input_px, config.branches)
        channels = [c if config.channels == "paper" else config.channels for c in CHANNELS[: config.branches]]
        self.trunk = Encoder(channels, sides_px)
        self.branches = nn.ModuleList(
            nn.Sequential(same_conv(c, c, kernel), nn.ReLU(inplace=True), same_conv(c, num_points, kernel))
            for c, kernel in zip(channels, map(kernel_size, sides_px), strict=True)
        )
        self.per_pixel = config.weights == "pixel"
        side_px = input_px if self.per_pixel else 1
        self.weights = nn.Parameter(torch.empty(config.branches, num_points, side_px, side_px))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Convolutions as in every model; the weights of the sum uniform in [0, 1)."""
        super().reset_parameters(generator)
        nn.init.uniform_(self.weights, generator=generator)

    def forward(self, image_b1hw: Tensor) -> Tensor:
        """Logits (b, k, h, h): one map per keypoint, to be normalised by a softmax over all pixels."""
        side_px = image_b1hw.shape[-1]
        maps = [branch(encoded) for branch, encoded in zip(self.branches, self.trunk(image_b1hw), strict=True)]
        if self.per_pixel:
            maps = [upsample(map_bkhw, side_px) for map_bkhw in maps]
        return sum_upsampled([weight * map_bkhw for weight, map_bkhw in zip(self.weights, maps, strict=True)])


def sum_upsampled(maps: list[Tensor]) -> Tensor:
    """Sum of maps (b, k, h, h), finest first, all upsampled by tiling to the side of the first.

    Each map is added to the next finer one whose side is a multiple of its own, not tiled all the way: the same sum,
    for fewer pixels. (From 80 pixels, 2 goes straight into 10, since 5 is no multiple of it.)
    """
    sums: list[Tensor] = []
    for fine in reversed(maps):
        side_px = fine.shape[-1]
        nested = [coarse for coarse in sums if side_px % coarse.shape[-1] == 0]
        sums = [coarse for coarse in sums if side_px % coarse.shape[-1] != 0]
        sums.append(sum((upsample(coarse, side_px) for coarse in nested), start=fine))
    (total,) = sums
    return total
