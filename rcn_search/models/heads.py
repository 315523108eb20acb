"""Heads: from the feature maps of a backbone to keypoints, by the contract of every network (logits, or points).

- `HeatmapHead`: a map of logits for each point (Xiao et al., ECCV 2018).
- `SimccHead`: two classifications for each point, one of its column and one of its row (Li et al., ECCV 2022).
- `CoordinatesHead`: regression of x and y (Toshev and Szegedy, CVPR 2014; Feng et al., CVPR 2018, for faces).

`Deconvolutions` give the first two maps of a higher resolution (Xiao et al. 2018, sec. 3). A head may be used in a
network of your own: ``build_head("simcc", channels, num_points, side_px=20, input_px=80)``.

Shape letters: b images, c channels, k points, g rows and columns of the features, h of the input.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rcn_search.config.schema import HeadName

_INIT_STD = 0.001  # of the deconvolutions and of the layer of logits, as in the code of Xiao et al.


class Deconvolutions(nn.Module):
    """Transposed convolutions of 4x4 pixels with batch normalization and ReLU, each of which doubles the side.

    A side that is odd, or was when the backbone halved it and rounded up, is cut to the one of the backbone there.
    """

    def __init__(self, in_channels: int, channels: int, sides_px: Sequence[int]):
        """Create a layer for each of the sides g after it, each twice the one before or one less."""
        super().__init__()
        self.sides_px = tuple(sides_px)
        self.layers = nn.ModuleList()
        for _ in self.sides_px:
            deconvolution = nn.ConvTranspose2d(in_channels, channels, 4, stride=2, padding=1, bias=False)
            nn.init.normal_(deconvolution.weight, std=_INIT_STD)
            self.layers.append(nn.Sequential(deconvolution, nn.BatchNorm2d(channels), nn.ReLU()))
            in_channels = channels
        self.out_channels = in_channels

    def forward(self, features_bcgg: Tensor) -> Tensor:
        """Compute features (b, channels, g, g) of the last side."""
        for layer, side_px in zip(self.layers, self.sides_px, strict=True):
            features_bcgg = layer(features_bcgg)[..., :side_px, :side_px]
        return features_bcgg


class HeatmapHead(nn.Module):
    """A 1x1 convolution to one map of logits for each point."""

    def __init__(self, in_channels: int, num_points: int):
        super().__init__()
        self.logits = nn.Conv2d(in_channels, num_points, 1)
        nn.init.normal_(self.logits.weight, std=_INIT_STD)
        nn.init.zeros_(self.logits.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, features_bcgg: Tensor) -> Tensor:
        """Compute logits (b, k, g, g)."""
        logits_bkgg: Tensor = self.logits(features_bcgg)
        return logits_bkgg


class SimccHead(nn.Module):
    """A 1x1 convolution to one map for each point, and two linear layers from it to the h columns and the h rows.

    Both classifications have one class for each pixel of the input (a splitting factor of 1). They are returned as the
    map of their sums: its softmax over all pixels is the product of the softmax over columns and that over rows, so its
    negative log-likelihood is the sum of both cross-entropies, also for Gaussian targets, which Li et al. call label
    smoothing. Losses, decoders and calibration are those of every map.
    """

    def __init__(self, in_channels: int, num_points: int, *, side_px: int, input_px: int):
        super().__init__()
        self.embedding = nn.Conv2d(in_channels, num_points, 1)
        self.columns = nn.Linear(side_px**2, input_px)
        self.rows = nn.Linear(side_px**2, input_px)

    def forward(self, features_bcgg: Tensor) -> Tensor:
        """Compute logits (b, k, h, h)."""
        embedding_bkp = self.embedding(features_bcgg).flatten(2)
        columns_bkh, rows_bkh = self.columns(embedding_bkp).float(), self.rows(embedding_bkp).float()
        logits_bkhh: Tensor = columns_bkh[:, :, None, :] + rows_bkh[:, :, :, None]
        return logits_bkhh


class CoordinatesHead(nn.Module):
    """The mean of the features over the image, and a linear layer to x and y, which start at the center."""

    def __init__(self, in_channels: int, num_points: int):
        super().__init__()
        self.points = nn.Linear(in_channels, 2 * num_points)
        nn.init.normal_(self.points.weight, std=_INIT_STD)
        nn.init.constant_(self.points.bias, 0.5)

    def forward(self, features_bcgg: Tensor) -> Tensor:
        """Compute points (b, k, 2) in window coordinates, which are 0 and 1 at the edges of the input."""
        with torch.autocast(features_bcgg.device.type, enabled=False):  # in bf16 a quarter of a pixel would be lost
            points_bk2: Tensor = self.points(features_bcgg.float().mean((2, 3))).unflatten(1, (-1, 2))
            return points_bk2


def build_head(name: HeadName, in_channels: int, num_points: int, *, side_px: int, input_px: int) -> nn.Module:
    """Build a head for features (b, in_channels, side_px, side_px) of images (b, c, input_px, input_px)."""
    if name == "simcc":
        return SimccHead(in_channels, num_points, side_px=side_px, input_px=input_px)
    return (HeatmapHead if name == "heatmap" else CoordinatesHead)(in_channels, num_points)
