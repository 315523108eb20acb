"""What the convolutional models are built of: convolutions that keep the resolution, the encoder, the recombination.

Shapes: b batch, c channels, h and w rows and columns, k keypoints. Resolutions are listed finest first; from 80 pixels
they are 80, 40, 20, 10, 5, 2, 1 (rcn.md 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rcn_search.errors import RcnSearchError


class Network(nn.Module):
    """Base of every model: one initialisation and the two groups of weights that carry their own L2 coefficient."""

    trunk: nn.Module
    """The encoder; every other convolution belongs to the branches."""

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw every weight anew in order of construction, biases zero (rcn.md 4.8).

        Weights are uniform in +-sqrt(6 / (fan_in + fan_out)), where the reference divides the fan_out of a convolution
        by its default pooling area of four, also where nothing is pooled.
        """
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                fan_in = layer.weight[0].numel()
                fan_out = layer.weight[:, 0].numel() // (4 if isinstance(layer, nn.Conv2d) else 1)
                bound = math.sqrt(6 / (fan_in + fan_out))
                nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
            elif isinstance(layer, LearnedUpsampling):
                # fan_in and fan_out are both the area of the kernel (rcn.md 4.3)
                bound = math.sqrt(6 / (2 * layer.kernel.numel()))
                nn.init.uniform_(layer.kernel, -bound, bound, generator=generator)

    def branch_logits(self, image_bchw: Tensor) -> list[Tensor]:
        """What each branch makes of an image, coarsest first: logits (b, k, h, h) each. See the models that have it.

        Raises:
            RcnSearchError: The model has no branches.
        """
        raise RcnSearchError(f"{type(self).__name__} has no branches to look into; take an RCN or a SumNet")

    def place(self, device: str | torch.device, memory_format: torch.memory_format) -> Self:
        """This network, moved to a device with its weights laid out for it."""
        return self.to(device).to(memory_format=memory_format)  # type: ignore[call-overload, no-any-return]

    def l2_groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Weights of the trunk and weights of all other layers, never biases (rcn.md 5)."""
        trunk = _layer_weights(self.trunk)
        trunk_ids = {id(weight) for weight in trunk}
        return trunk, [weight for weight in _layer_weights(self) if id(weight) not in trunk_ids]


def _layer_weights(module: nn.Module) -> list[nn.Parameter]:
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    return [layer.get_parameter("weight") for layer in layers]


def same_conv(in_channels: int, out_channels: int, kernel: int) -> nn.Conv2d:
    """Convolution with bias that keeps the resolution."""
    return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)


def resolutions_px(input_px: int, num_branches: int) -> list[int]:
    """Sides of the maps, finest first, each half of the one before, rounded down.

    Raises:
        RcnSearchError: The input is neither 80 nor 40 pixels wide, or too small for so many branches.
    """
    if input_px not in (40, 80):
        raise RcnSearchError(f"input_px is {input_px}; the map models take inputs of 40 or 80 pixels")
    sides = [input_px >> level for level in range(num_branches)]
    if sides[-1] == 0:
        raise RcnSearchError(
            f"{num_branches} branches do not fit an input of {input_px} px: take at most {num_branches - 1}"
        )
    return sides


def halve(map_bchw: Tensor) -> Tensor:
    """Max pooling to half the side; an odd side is covered by overlapping 3x3 windows (5 to 2, rcn.md 4)."""
    return F.max_pool2d(map_bchw, kernel_size=2 + map_bchw.shape[-1] % 2, stride=2)


def only_pooled(map_bchw: Tensor) -> Tensor:
    """The map with every value zero that is not the maximum of a pooling window (`zero_non_pooled`, rcn.md 4.3).

    Of equal values all are kept. Where windows overlap, a value stays if it is the maximum of any of them.
    """
    with torch.no_grad():
        least_bchw = halve(map_bchw)  # becomes, for each pixel, the least maximum of the windows over it
        if map_bchw.shape[-1] % 2:
            centers_bchw = torch.full_like(map_bchw, -math.inf)
            centers_bchw[..., 1::2, 1::2] = -least_bchw
            least_bchw = -F.max_pool2d(centers_bchw, kernel_size=3, stride=1, padding=1)
        else:
            least_bchw = upsample(least_bchw, map_bchw.shape[-1])
        kept_bchw = (map_bchw >= least_bchw).to(map_bchw.dtype)
    return map_bchw * kept_bchw  # a third of the time of masked_fill


Upsampling = Callable[[Tensor, int], Tensor]
"""From maps (b, c, h, h) and a side to maps (b, c, side, side)."""


def upsample(map_bchw: Tensor, side_px: int) -> Tensor:
    """Nearest-neighbour upsampling (the paper's tiling); 2 to 5 is two tiles of three, the last column cropped."""
    return F.interpolate(map_bchw, size=(side_px, side_px), mode="nearest")


def upsample_bilinear(map_bchw: Tensor, side_px: int) -> Tensor:
    """Bilinear upsampling straight to the side, pixels taken as squares (so 5 pixels cover the same square as 2).

    The reference aligns the middles of the corner pixels instead, for which its inputs are 81 or 41 pixels wide.
    """
    return F.interpolate(map_bchw, size=(side_px, side_px), mode="bilinear", align_corners=False)


class LearnedUpsampling(nn.Module):
    """Transposed convolution with one kernel (2r-1, 2r-1) for all channels, r the factor, no bias (rcn.md 4.3).

    Each coarse pixel spreads the kernel around the first pixel of its tile. 2 to 5 is 2 to 6, cropped.
    """

    def __init__(self, coarse_px: int, fine_px: int):
        super().__init__()
        self.factor = math.ceil(fine_px / coarse_px)
        self.kernel = nn.Parameter(torch.empty(2 * self.factor - 1, 2 * self.factor - 1))

    def forward(self, map_bchw: Tensor, side_px: int) -> Tensor:
        """Maps (b, c, side, side) from maps (b, c, h, h)."""
        num_channels, r = map_bchw.shape[1], self.factor
        shared = self.kernel.expand(num_channels, 1, -1, -1)
        with torch.autocast(map_bchw.device.type, enabled=False):  # in bf16 the CPU takes six times as long for it
            fine_bchw = F.conv_transpose2d(
                map_bchw.to(shared.dtype),
                shared,
                stride=r,
                padding=r - 1,
                output_padding=r - 1,
                groups=num_channels,
            )
        return fine_bchw[..., :side_px, :side_px].to(map_bchw.dtype)


def make_upsampling(kind: Literal["tile", "bilinear", "learned"], coarse_px: int, fine_px: int) -> Upsampling:
    """The way from one resolution to a finer one; the learned one is a module with a kernel of its own."""
    match kind:
        case "tile":
            return upsample
        case "bilinear":
            return upsample_bilinear
        case "learned":
            return LearnedUpsampling(coarse_px, fine_px)


def kernel_size(side_px: int, kernel: int = 3) -> int:
    """The kernel, but 1x1 where a map is a single pixel (rcn.md 9)."""
    return 1 if side_px == 1 else kernel


class Encoder(nn.ModuleList):
    """The trunk: one 3x3 convolution and ReLU per resolution, max pooling between (Sh1 to Sh7, rcn.md 4.1)."""

    def __init__(self, in_channels: int, channels: Sequence[int], sides_px: Sequence[int]):
        super().__init__(
            same_conv(c_in, c_out, kernel_size(side_px))
            for c_in, c_out, side_px in zip((in_channels, *channels), channels, sides_px, strict=False)
        )

    def forward(self, image_bchw: Tensor) -> list[Tensor]:
        """Maps of every resolution, finest first."""
        maps: list[Tensor] = []
        for conv in self:
            maps.append(F.relu_(conv(halve(maps[-1]) if maps else image_bchw)))
        return maps


class Recombination(nn.Module):
    """Convolution over an encoder map and the upsampled map of the next coarser branch, side by side.

    The parameters are those of the plain convolution over the concatenation (encoder map first). Where tiling exactly
    doubles the side, neither the concatenation nor the upsampled map is ever made:

        conv(cat(T, up2(m)); W) = conv(T; Wa) + conv_transpose(m; K(Wb), stride 2)

    for K(Wb) the branch half of the kernel summed over the 2x2 tile that each coarse pixel becomes. A training step of
    a network with 6 branches takes 1.3 to 1.4 times as long in the plain form (bf16, two cores with AMX); of the 300-W
    network of 5 branches 1.15 to 1.2 times, with skip connections 1.6 times (68 points, batch 16, one core).

    The plain form is used from 2 to 5 pixels, across an omitted branch, and for the other two kinds of upsampling,
    which are not exact in this form at the border: there the convolution sees zeros, not maps spread further.
    """

    def __init__(
        self,
        encoder_channels: int,
        coarse_channels: int,
        out_channels: int,
        kernel: int,
        upsampling: Upsampling = upsample,
    ):
        super().__init__()
        self.encoder_channels = encoder_channels
        self.conv = same_conv(encoder_channels + coarse_channels, out_channels, kernel)
        self.upsampling = upsampling

    def forward(self, encoded_bchw: Tensor, coarse_bchw: Tensor) -> Tensor:
        """Maps (b, out, h, h) from an encoder map (b, encoder, h, h) and a coarser map (b, coarse, g, g)."""
        side_px = encoded_bchw.shape[-1]
        if self.upsampling is not upsample or side_px != 2 * coarse_bchw.shape[-1]:
            stacked: Tensor = self.conv(torch.cat([encoded_bchw, self.upsampling(coarse_bchw, side_px)], dim=1))
            return stacked
        weight, padding = self.conv.weight, self.conv.padding[0]
        assert isinstance(padding, int)
        encoder_weight, coarse_weight = weight[:, : self.encoder_channels], weight[:, self.encoder_channels :]
        fine = F.conv2d(encoded_bchw, encoder_weight, self.conv.bias, padding=padding)
        return fine.add_(F.conv_transpose2d(coarse_bchw, tiled_kernel(coarse_weight), stride=2, padding=padding))


def tiled_kernel(weight_oihw: Tensor) -> Tensor:
    """Kernel (i, o, h + 1, w + 1) whose stride-2 transposed convolution is the given one after 2x upsampling."""
    padded = F.pad(weight_oihw, (1, 1, 1, 1))
    rows = padded[:, :, 1:] + padded[:, :, :-1]
    return (rows[..., 1:] + rows[..., :-1]).flip(2, 3).transpose(0, 1)
