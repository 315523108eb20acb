"""Keypoint denoiser (Honari et al. 2016, sec. 4 and Fig. 2).

It has three convolutions with kernels as large as half the face, and a 1x1 convolution to the output maps. From the
assumed positions of all points of a face, a one-hot map for each, it predicts where each point should be.

Shape letters: b faces, k points, h rows and columns of the maps, c channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rcn_search.config.schema import DenoiserConfig
from rcn_search.models.blocks import Network, same_conv
from rcn_search.models.fft_conv import convolve, convolve_one_hot

NUM_LARGE = 3

DIRECT_BELOW_PX = 7  # kernels smaller than this are convolved directly, which is faster (docs/explanation/denoiser.md)


class Denoiser(Network):
    """Network from cells of points, some of them wrong, to logits (b, k, h, h) of the true ones.

    It has 25,406,212 parameters in the paper's size. The methods `direct` and `spectral` compute the same function,
    apart from rounding; `forward` uses the one that is faster for the size of the kernel.
    """

    trunk: nn.ModuleList  # all four convolutions; they have the same L2 coefficient

    def __init__(self, config: DenoiserConfig, num_points: int, input_px: int, in_channels: int = 1):
        super().__init__()
        self.kernel_px, self.num_points, self.input_px = config.kernel_px, num_points, input_px
        inputs = (num_points, *[config.channels] * (NUM_LARGE - 1))
        large = [same_conv(num_inputs, config.channels, config.kernel_px) for num_inputs in inputs]
        self.trunk = nn.ModuleList([*large, same_conv(config.channels, num_points, 1)])

    def forward(self, cells_bk2: Tensor) -> Tensor:
        """Compute logits (b, k, h, h) from the column and row of each point, int64; -1, -1 if it has no position."""
        return self.direct(cells_bk2) if self.kernel_px < DIRECT_BELOW_PX else self.spectral(cells_bk2)

    def direct(self, cells_bk2: Tensor) -> Tensor:
        """Compute the logits by dense convolutions."""
        *large, last = self._convs()
        maps = one_hot_maps(cells_bk2, self.input_px).to(last.weight.dtype)
        for conv in large:
            maps = F.relu_(conv(maps))
        return last(maps)  # type: ignore[no-any-return]

    def spectral(self, cells_bk2: Tensor) -> Tensor:
        """Compute the logits by products of spectra, always in fp32."""
        first, *others, last = self._convs()
        map_hhbc = _rectified(convolve_one_hot(cells_bk2, first.weight, self.input_px), first)
        for conv in others:
            map_hhbc = _rectified(convolve(map_hhbc, conv.weight), conv)
        with torch.autocast(cells_bk2.device.type, enabled=False):
            pixels_bcp = map_hhbc.flatten(0, 1).permute(1, 2, 0)
            weight_bkc = last.weight.flatten(1).expand(len(pixels_bcp), -1, -1)
            logits_bkp = torch.baddbmm(last.get_parameter("bias")[:, None], weight_bkc, pixels_bcp)
        return logits_bkp.view(*logits_bkp.shape[:2], self.input_px, self.input_px)

    def _convs(self) -> list[nn.Conv2d]:
        return [conv for conv in self.trunk if isinstance(conv, nn.Conv2d)]


def _rectified(map_hhbc: Tensor, conv: nn.Conv2d) -> Tensor:
    return F.relu_(map_hhbc + conv.get_parameter("bias"))


def one_hot_maps(cells_bk2: Tensor, size_px: int) -> Tensor:
    """Create maps (b, k, h, h) float32 with a 1 in the given column and row; all zeros if the cell is negative."""
    column_bk, row_bk = cells_bk2.clamp(min=0).unbind(2)
    index_bk1 = (row_bk * size_px + column_bk)[..., None]
    has_cell_bk1 = (cells_bk2 >= 0).all(2, keepdim=True).float()
    maps = torch.zeros(*cells_bk2.shape[:2], size_px**2, device=cells_bk2.device)
    return maps.scatter_(2, index_bk1, has_cell_bk1).view(*cells_bk2.shape[:2], size_px, size_px)
