"""Recombinator Network (Honari et al., CVPR 2016, section 3.2 and Fig. 1; layer lists in rcn.md 4.1 to 4.4).

An encoder makes maps of ever coarser resolution. From the coarsest back to the finest, each branch convolves the
encoder map of its resolution together with the upsampled output of the branch before it, so that the finest features
are interpreted in the light of all coarser ones. With skip connections a branch receives the outputs of all coarser
branches, not only of the last.

Of an omitted branch (Table 1) nothing is built, and the next coarser output is upsampled past it. The output layer is
at the resolution of the input all the same: without the finest branch it sees the upsampled maps of the next one.
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
    only_pooled,
    resolutions_px,
    same_conv,
)


class Layers(NamedTuple):
    """One of the paper's lists: output channels by resolution, finest first, and kernels."""

    trunk: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]
    """Of each convolution; the finest branch ends in one more, linear convolution to the keypoint maps."""
    first_kernel: int
    """Of the first convolution of each branch."""
    kernel: int
    """Of all further ones, the output layer among them."""


LAYERS = {
    "mtfl": Layers(
        (16, 32, 48, 48, 48, 48, 48),
        ((16,), (32, 16), (48, 32), (48,), (48, 48), (48, 48), (48, 48)),
        first_kernel=3,
        kernel=3,
    ),
    "300w": Layers(
        (64,) * 7,
        ((64, 64, 64), (64, 64), (64, 64), (64,), (64, 64), (64, 64), (64, 64)),
        first_kernel=5,
        kernel=1,
    ),
}
FOURTH = 3
"""The branch (10x10 of 80) that has one convolution in the released code, but two in a network of four (Fig. 1)."""


class Branch(nn.Module):
    """Convolutions of one resolution; the first takes in the coarser branch, if there is one."""

    def __init__(self, first: nn.Conv2d | Recombination, channels: list[int], kernel: int, *, finest: bool):
        super().__init__()
        self.finest = finest
        self.first = first
        self.rest = nn.ModuleList(same_conv(c_in, c_out, kernel) for c_in, c_out in pairwise(channels))

    def forward(self, encoded_bchw: Tensor, coarse_bchw: Tensor | None) -> Tensor:
        """Maps of the same resolution as the encoder map; linear in the finest branch, else rectified."""
        maps: Tensor = self.first(encoded_bchw) if coarse_bchw is None else self.first(encoded_bchw, coarse_bchw)
        for conv in self.rest:
            maps = conv(F.relu_(maps))
        return maps if self.finest else F.relu_(maps)


class Output(nn.Module):
    """The output layer of a network without its finest branch."""

    def __init__(self, channels: int, num_points: int, kernel: int, upsampling: Upsampling):
        super().__init__()
        self.upsampling = upsampling
        self.conv = same_conv(channels, num_points, kernel)

    def forward(self, coarse_bchw: Tensor, side_px: int) -> Tensor:
        """Logits (b, k, side, side) from maps (b, c, h, h)."""
        logits: Tensor = self.conv(self.upsampling(coarse_bchw, side_px))
        return logits


class RCN(Network):
    """Contrast-normalized image (b, c, h, h) to keypoint logits (b, k, h, h), for h of 80 or 40 pixels."""

    def __init__(self, config: RcnConfig, num_points: int, input_px: int, in_channels: int):
        super().__init__()
        sides_px = resolutions_px(input_px, config.branches)
        layers = LAYERS[config.layer_preset]
        self.skip, self.zero_non_pooled = config.skip, config.zero_non_pooled

        def width(paper: int) -> int:
            return paper if config.channels == "paper" else config.channels

        levels = [level for level in reversed(range(config.branches)) if config.kept_branches[level]]
        trunk_channels = [width(c) for c in layers.trunk[: levels[0] + 1]]
        self.trunk = Encoder(in_channels, trunk_channels, sides_px)
        self.levels = levels
        branches: list[Branch] = []
        coarse_channels = 0
        for coarser, level in zip([None, *levels], levels, strict=False):
            channels = [width(c) for c in layers.branches[level]]
            if level == FOURTH == config.branches - 1:
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
        self.output: Output | None = None
        if levels[-1] > 0:
            upsampling = make_upsampling(config.upsampling, sides_px[levels[-1]], input_px)
            self.output = Output(coarse_channels, num_points, layers.kernel, upsampling)

    def forward(self, image_bchw: Tensor) -> Tensor:
        """Logits (b, k, h, h): one map per keypoint, to be normalized by a softmax over all pixels."""
        return self._recombine(self._encode(image_bchw), image_bchw.shape[-1])

    def branch_logits(self, image_bchw: Tensor) -> list[Tensor]:
        """What the branches know, coarsest first: logits (b, k, h, h) each.

        Those of the network when it sees the encoder maps up to this branch, and zeros for all finer ones. The last
        are the logits.
        """
        encoded = self._encode(image_bchw)
        dark = [torch.zeros_like(map_bchw) for map_bchw in encoded]
        seen = range(1, len(encoded) + 1)
        return [self._recombine(encoded[:count] + dark[count:], image_bchw.shape[-1]) for count in seen]

    def _encode(self, image_bchw: Tensor) -> list[Tensor]:
        """The encoder map of each branch, coarsest first, as the recombination sees it."""
        encoded = self.trunk(image_bchw)
        coarsest, *finer = (encoded[level] for level in self.levels)
        return [coarsest, *(only_pooled(map_bchw) if self.zero_non_pooled else map_bchw for map_bchw in finer)]

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
