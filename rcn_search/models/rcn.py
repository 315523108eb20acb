"""Recombinator Network (Honari et al., CVPR 2016, section 3.2 and Fig. 1; layer lists in rcn.md 4.1 and 4.2).

An encoder makes maps of ever coarser resolution. From the coarsest back to the finest, each branch convolves the
encoder map of its resolution together with the upsampled output of the branch before it, so that the finest features
are interpreted in the light of all coarser ones. With skip connections a branch receives the outputs of all coarser
branches, not only of the last.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rcn_search.config import RcnConfig
from rcn_search.models.blocks import Encoder, Network, Recombination, kernel_size, resolutions_px, same_conv, upsample

# Output channels by resolution, finest first: the encoder, then the convolutions of each branch. The finest branch ends
# in one more, linear convolution to the keypoint maps.
TRUNK_CHANNELS = (16, 32, 48, 48, 48, 48, 48)
BRANCH_CHANNELS = ((16,), (32, 16), (48, 32), (48,), (48, 48), (48, 48), (48, 48))
FOURTH = 3
"""The branch (10x10 of 80) that has one convolution in the released code, but two where it is the coarsest (Fig. 1)."""


class Branch(nn.Module):
    """Convolutions of one resolution; the first takes in the coarser branch, if there is one."""

    def __init__(self, encoder_channels: int, coarse_channels: int, channels: list[int], kernel: int, *, finest: bool):
        super().__init__()
        self.finest = finest
        self.first: nn.Conv2d | Recombination = (
            Recombination(encoder_channels, coarse_channels, channels[0], kernel)
            if coarse_channels
            else same_conv(encoder_channels, channels[0], kernel)
        )
        self.rest = nn.ModuleList(same_conv(c_in, c_out, kernel) for c_in, c_out in pairwise(channels))

    def forward(self, encoded_bchw: Tensor, coarse_bchw: Tensor | None) -> Tensor:
        """Maps of the same resolution as the encoder map; linear in the finest branch, else rectified."""
        maps: Tensor = self.first(encoded_bchw) if coarse_bchw is None else self.first(encoded_bchw, coarse_bchw)
        for conv in self.rest:
            maps = conv(F.relu_(maps))
        return maps if self.finest else F.relu_(maps)


class RCN(Network):
    """Contrast-normalised image (b, 1, h, h) to keypoint logits (b, k, h, h), for h of 80 or 40 pixels."""

    def __init__(self, config: RcnConfig, num_points: int, input_px: int):
        super().__init__()
        sides_px = resolutions_px(input_px, config.branches)
        self.skip = config.skip

        def width(paper: int) -> int:
            return paper if config.channels == "paper" else config.channels

        trunk_channels = [width(c) for c in TRUNK_CHANNELS[: config.branches]]
        self.trunk = Encoder(trunk_channels, sides_px)
        branches: list[Branch] = []
        coarse_channels = 0
        for level in reversed(range(config.branches)):
            channels = [width(c) for c in BRANCH_CHANNELS[level]]
            if level == FOURTH == config.branches - 1:
                channels *= 2
            if level == 0:
                channels.append(num_points)
            branches.append(
                Branch(
                    trunk_channels[level], coarse_channels, channels, kernel_size(sides_px[level]), finest=level == 0
                )
            )
            coarse_channels = channels[-1] + (coarse_channels if config.skip else 0)
        self.branches = nn.ModuleList(branches)

    def forward(self, image_b1hw: Tensor) -> Tensor:
        """Logits (b, k, h, h): one map per keypoint, to be normalised by a softmax over all pixels."""
        encoded = self.trunk(image_b1hw)
        maps: Tensor | None = None
        coarse: Tensor | None = None
        for branch, encoded_bchw in zip(self.branches, reversed(encoded), strict=True):
            maps = branch(encoded_bchw, coarse)
            if self.skip and coarse is not None and encoded_bchw is not encoded[0]:
                coarse = torch.cat([maps, upsample(coarse, maps.shape[-1])], dim=1)
            else:
                coarse = maps
        assert maps is not None
        return maps
