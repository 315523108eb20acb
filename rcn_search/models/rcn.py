"""Recombinator Network (Honari et al. 2016, sec. 3.2 and Fig. 1).

An encoder computes maps of ever coarser resolution. From the coarsest to the finest, each branch convolves the encoder
map of its resolution together with the upsampled output of the branch before it, so that fine features are interpreted
in the context of all coarser ones. With skip connections a branch receives the outputs of all coarser branches.

An omitted branch (Table 1) is not built, and the next coarser output is upsampled past it. The output layer always has
the resolution of the input: without the finest branch, its input is the upsampled output of the next one. Layer lists
are in docs/explanation/model-specification.md, "Networks".
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rcn_search.config.schema import RcnConfig
from rcn_search.models.blocks import (
    Encoder,
    Network,
    Recombination,
    Upsampling,
    kernel_size,
    make_upsampling,
    resolutions_px,
    same_conv,
    zero_non_pooled,
)


class LayerPreset(NamedTuple):
    """Layers of one of the paper's networks: output channels by resolution, finest first, and kernel sides."""

    trunk: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]  # the finest branch has another, linear convolution to the keypoint maps
    first_kernel: int  # of the first convolution of each branch
    kernel: int  # of all other convolutions of the branches, including the output layer


_WIDE = ((64, 64, 64), (64, 64), (64, 64), (64,), (64, 64), (64, 64), (64, 64))
LAYER_PRESETS = {
    "mtfl": LayerPreset(
        (16, 32, 48, 48, 48, 48, 48),
        ((16,), (32, 16), (48, 32), (48,), (48, 48), (48, 48), (48, 48)),
        first_kernel=3,
        kernel=3,
    ),
    "300w": LayerPreset((64,) * 7, _WIDE, first_kernel=5, kernel=1),
    "300w-3x3": LayerPreset((64,) * 7, _WIDE, first_kernel=3, kernel=3),
}
LAST_LEVEL = 6  # index of the last level in `LayerPreset`
FOURTH_BRANCH = 3
"""The branch (10x10 of 80) that has one convolution in the paper's code, but two in a network of four (Fig. 1)."""


class Branch(nn.Module):
    """Convolutions of one resolution; the first one also receives the output of the coarser branch, if there is one."""

    def __init__(self, first: nn.Conv2d | Recombination, channels: list[int], kernel: int, *, finest: bool):
        super().__init__()
        self.finest = finest
        self.first = first
        self.rest = nn.ModuleList(same_conv(c_in, c_out, kernel) for c_in, c_out in pairwise(channels))

    def forward(self, encoded_bchw: Tensor, coarse_bchw: Tensor | None) -> Tensor:
        """Compute maps of the resolution of the encoder map; linear in the finest branch, otherwise rectified."""
        maps: Tensor = self.first(encoded_bchw) if coarse_bchw is None else self.first(encoded_bchw, coarse_bchw)
        for conv in self.rest:
            maps = conv(F.relu_(maps))
        return maps if self.finest else F.relu_(maps)


class OutputLayer(nn.Module):
    """Output layer of a network without its finest branch."""

    def __init__(self, channels: int, num_points: int, kernel: int, upsampling: Upsampling):
        super().__init__()
        self.upsampling = upsampling
        self.conv = same_conv(channels, num_points, kernel)

    def forward(self, coarse_bchw: Tensor, side_px: int) -> Tensor:
        """Compute logits (b, k, side, side) from maps (b, c, h, h)."""
        return self.conv(self.upsampling(coarse_bchw, side_px))  # type: ignore[no-any-return]


class RCN(Network):
    """Network from contrast-normalized images (b, c, h, h) to keypoint logits (b, k, h, h), h even and 40 to 256."""

    def __init__(self, config: RcnConfig, num_points: int, input_px: int, in_channels: int):
        super().__init__()
        sides_px = resolutions_px(input_px, config.branches)
        layers = LAYER_PRESETS[config.layer_preset]
        self.skip, self.zero_non_pooled = config.skip, config.zero_non_pooled

        def width(paper: int) -> int:
            return paper if config.channels == "paper" else config.channels

        levels = [level for level in reversed(range(config.branches)) if config.kept_branches[level]]
        # Levels beyond the paper's seven, of inputs of more than 127 pixels, are as wide as the seventh.
        trunk_channels = [width(layers.trunk[min(level, LAST_LEVEL)]) for level in range(levels[0] + 1)]
        self.trunk = Encoder(in_channels, trunk_channels, sides_px)
        self.levels = levels
        branches: list[Branch] = []
        coarse_channels = 0
        for coarser, level in zip([None, *levels], levels, strict=False):
            channels = [width(c) for c in layers.branches[min(level, LAST_LEVEL)]]
            if level == FOURTH_BRANCH == config.branches - 1:
                channels *= 2
            if level == 0:
                channels.append(num_points)
            side_px = sides_px[level]
            shape = trunk_channels[level], coarse_channels, channels[0], kernel_size(side_px, layers.first_kernel)
            first = (
                same_conv(shape[0], *shape[2:])
                if coarser is None
                else Recombination(*shape, make_upsampling(config.upsampling, sides_px[coarser], side_px))
            )
            branches.append(Branch(first, channels, kernel_size(side_px, layers.kernel), finest=level == 0))
            coarse_channels = channels[-1] + (coarse_channels if config.skip else 0)
        self.branches = nn.ModuleList(branches)
        self.output: OutputLayer | None = None
        if levels[-1] > 0:
            upsampling = make_upsampling(config.upsampling, sides_px[levels[-1]], input_px)
            self.output = OutputLayer(coarse_channels, num_points, layers.kernel, upsampling)

    def forward(self, image_bchw: Tensor) -> Tensor:
        """Compute logits (b, k, h, h): one map for each keypoint, for a softmax over all pixels."""
        return self._recombine(self._encode(image_bchw), image_bchw.shape[-1])

    def branch_logits(self, image_bchw: Tensor) -> list[Tensor]:
        """Compute the logits (b, k, h, h) after each branch, coarsest first.

        These are the logits if the encoder maps of all finer branches are zeros; the last ones are the actual logits.
        """
        encoded = self._encode(image_bchw)
        zeros = [torch.zeros_like(map_bchw) for map_bchw in encoded]
        counts = range(1, len(encoded) + 1)
        return [self._recombine(encoded[:count] + zeros[count:], image_bchw.shape[-1]) for count in counts]

    def _encode(self, image_bchw: Tensor) -> list[Tensor]:
        """Compute the encoder map of each branch, coarsest first."""
        encoded = self.trunk(image_bchw)
        coarsest, *finer = (encoded[level] for level in self.levels)
        return [coarsest, *(zero_non_pooled(map_bchw) if self.zero_non_pooled else map_bchw for map_bchw in finer)]

    def _recombine(self, encoded: list[Tensor], input_px: int) -> Tensor:
        maps: Tensor | None = None
        coarse: Tensor | None = None
        for branch, encoded_bchw in zip(self.branches, encoded, strict=True):
            maps = branch(encoded_bchw, coarse)
            if self.skip and coarse is not None and encoded_bchw is not encoded[-1]:
                assert isinstance(branch.first, Recombination)
                coarse = torch.cat([maps, branch.first.upsampling(coarse, maps.shape[-1])], dim=1)
            else:
                coarse = maps
        assert maps is not None
        return maps if self.output is None else self.output(maps, input_px)
