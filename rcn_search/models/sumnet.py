"""SumNet (Honari et al. 2016, sec. 3.1; layer lists in docs/explanation/model-specification.md, "Networks").

SumNet has the same encoder as the Recombinator Network, but each resolution has its own keypoint maps, and the logits
are a learned weighted sum of all of them. An omitted branch (Table 1) is not built, nor is the part of the encoder that
only this branch would need. Unlike in the paper's code, every parameter is trained; only trained branches are summed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rcn_search.config.schema import SumNetConfig
from rcn_search.models.blocks import (
    Encoder,
    Network,
    kernel_size,
    resolutions_px,
    same_conv,
    upsample,
    upsample_bilinear,
)

CHANNELS = {"mtfl": (16, 32, 48, 48, 48, 48), "300w": (64,) * 6}
"""Number of channels of the encoder and of the branch at each resolution, finest first."""


class SumNet(Network):
    """Network from contrast-normalized images (b, c, h, h) to keypoint logits (b, k, h, h), h even and 40 to 256."""

    def __init__(self, config: SumNetConfig, num_points: int, input_px: int, in_channels: int):
        super().__init__()
        sides_px = resolutions_px(input_px, config.branches)
        self.levels = [level for level in range(config.branches) if config.kept_branches[level]]
        paper: tuple[int, ...] = CHANNELS[config.layer_preset]
        paper += paper[-1:] * (self.levels[-1] + 1 - len(paper))  # levels beyond the paper's six
        channels = [c if config.channels == "paper" else config.channels for c in paper[: self.levels[-1] + 1]]
        self.trunk = Encoder(in_channels, channels, sides_px)
        is_300w = config.layer_preset == "300w"
        self.branches = nn.ModuleList(
            _branch(channels[level], num_points, kernel_size(sides_px[level]), long=is_300w and level == 0)
            for level in self.levels
        )
        self.upsampling = upsample if config.upsampling == "tile" else upsample_bilinear
        self.per_pixel = config.fusion_weights == "pixel"
        side_px = input_px if self.per_pixel else 1
        self.weights = nn.Parameter(torch.empty(len(self.levels), num_points, side_px, side_px))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Initialize convolutions as in every model, and fusion weights uniform in [0, 1)."""
        super().reset_parameters(generator)
        nn.init.uniform_(self.weights, generator=generator)

    def forward(self, image_bchw: Tensor) -> Tensor:
        """Compute logits (b, k, h, h): one map for each keypoint, for a softmax over all pixels."""
        nested = self.upsampling is upsample and not self.per_pixel
        return sum_upsampled(self._weighted(image_bchw, full_size=not nested), image_bchw.shape[-1])

    def branch_logits(self, image_bchw: Tensor) -> list[Tensor]:
        """Compute what each branch adds to the logits, coarsest first: (b, k, h, h) each."""
        return self._weighted(image_bchw, full_size=True)[::-1]

    def _weighted(self, image_bchw: Tensor, *, full_size: bool) -> list[Tensor]:
        """Compute the weighted maps of the branches, finest first, with their own sides or upsampled to the image."""
        encoded = self.trunk(image_bchw)
        maps = [branch(encoded[level]) for level, branch in zip(self.levels, self.branches, strict=True)]
        if full_size:
            maps = [self.upsampling(map_bkhw, image_bchw.shape[-1]) for map_bkhw in maps]
        return [weight * map_bkhw for weight, map_bkhw in zip(self.weights, maps, strict=True)]


def _branch(channels: int, num_points: int, kernel: int, *, long: bool) -> nn.Sequential:
    """Create two convolutions, the last one linear; or four, of which the second and the last are linear."""
    rectified = same_conv(channels, channels, kernel), nn.ReLU(inplace=True)
    if not long:
        return nn.Sequential(*rectified, same_conv(channels, num_points, kernel))
    linear, second = (same_conv(channels, channels, kernel) for _ in range(2))
    return nn.Sequential(*rectified, linear, second, nn.ReLU(inplace=True), same_conv(channels, num_points, kernel))


def sum_upsampled(maps: list[Tensor], side_px: int) -> Tensor:
    """Sum maps (b, k, h, h), finest first, that are upsampled by tiling to one side.

    To save time, each map is added to the next finer one whose side is a multiple of its own. (With 80 pixels, the map
    of 2 pixels is added to that of 10, because 5 is not a multiple of 2.)
    """
    sums: list[Tensor] = []
    for fine in reversed(maps):
        nested = [coarse for coarse in sums if fine.shape[-1] % coarse.shape[-1] == 0]
        sums = [coarse for coarse in sums if fine.shape[-1] % coarse.shape[-1] != 0]
        sums.append(sum((upsample(coarse, fine.shape[-1]) for coarse in nested), start=fine))
    first, *others = (coarse if coarse.shape[-1] == side_px else upsample(coarse, side_px) for coarse in sums)
    return sum(others, start=first)
