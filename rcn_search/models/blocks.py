"""Building blocks of the convolutional models: encoder, upsampling and recombination.

They follow docs/explanation/model-specification.md, "Networks". Resolutions are listed finest first; with an input of
80 pixels they are 80, 40, 20, 10, 5, 2, 1, with one of 100 pixels 100, 50, 25, 12, 6, 3, 1.

Shape letters: b images, c channels, h rows, w columns, k keypoints; o, i output and input channels of a kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rcn_search.config.schema import MAX_INPUT_PX, MIN_INPUT_PX
from rcn_search.errors import RcnSearchError


class Network(nn.Module):
    """Base class of all models: initialization, and the two groups of weights with their own L2 coefficients."""

    trunk: nn.Module  # encoder; all other convolutions belong to the branches

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Initialize all weights in order of construction, and all biases with zero.

        Weights are uniform in +-sqrt(6 / (fan_in + fan_out)). As in the paper's code, the fan_out of a convolution is
        divided by four, a pooling area, even if nothing is pooled.
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
                # fan_in and fan_out are both the area of the kernel, as in the paper's code.
                bound = math.sqrt(6 / (2 * layer.kernel.numel()))
                nn.init.uniform_(layer.kernel, -bound, bound, generator=generator)

    def branch_logits(self, image_bchw: Tensor) -> list[Tensor]:
        """Compute the logits (b, k, h, h) that each branch contributes, coarsest first; see `RCN` and `SumNet`."""
        raise RcnSearchError(f"{type(self).__name__} has no branches; use an RCN or a SumNet")

    def to_device(self, device: str | torch.device, memory_format: torch.memory_format) -> Self:
        """Move the network to a device, and convert its weights to a memory format."""
        return self.to(device).to(memory_format=memory_format)  # type: ignore[call-overload, no-any-return]

    def l2_groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return the weights of the encoder, and those of all other layers; without biases."""
        trunk = _layer_weights(self.trunk)
        trunk_ids = {id(weight) for weight in trunk}
        return trunk, [weight for weight in _layer_weights(self) if id(weight) not in trunk_ids]


def _layer_weights(module: nn.Module) -> list[nn.Parameter]:
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    return [layer.get_parameter("weight") for layer in layers]


def same_conv(in_channels: int, out_channels: int, kernel: int) -> nn.Conv2d:
    """Create a convolution with bias that keeps the resolution."""
    return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)


def check_input_px(input_px: int) -> None:
    """Raise RcnSearchError if a network cannot have inputs of this side."""
    if input_px % 2 or not MIN_INPUT_PX <= input_px <= MAX_INPUT_PX:
        raise RcnSearchError(
            f"input_px is {input_px}; networks take inputs of {MIN_INPUT_PX} to {MAX_INPUT_PX} pixels, an even number"
        )


def resolutions_px(input_px: int, num_branches: int) -> list[int]:
    """Compute the sides of the maps, finest first; each is half of the one before, rounded down.

    Raises:
        RcnSearchError: The side is odd, less than 40 or more than 256 pixels, or too small for so many branches.
    """
    check_input_px(input_px)
    sides = [input_px >> level for level in range(num_branches)]
    if sides[-1] == 0:
        raise RcnSearchError(
            f"{num_branches} branches do not fit an input of {input_px} px: take at most {input_px.bit_length()}"
        )
    return sides


def halve(map_bchw: Tensor) -> Tensor:
    """Max-pool to half the side; an odd side is covered by overlapping 3x3 windows (5 to 2 pixels)."""
    return F.max_pool2d(map_bchw, kernel_size=2 + map_bchw.shape[-1] % 2, stride=2)


def zero_non_pooled(map_bchw: Tensor) -> Tensor:
    """Set all values to zero that are not the maximum of a pooling window, for ``model.zero_non_pooled``.

    Equal values are all kept. If windows overlap, a value is kept if it is the maximum of any of them.
    """
    with torch.no_grad():
        least_bchw = halve(map_bchw)  # becomes the smallest maximum of the windows over each pixel
        if map_bchw.shape[-1] % 2:
            centers_bchw = torch.full_like(map_bchw, -math.inf)
            centers_bchw[..., 1::2, 1::2] = -least_bchw
            least_bchw = -F.max_pool2d(centers_bchw, kernel_size=3, stride=1, padding=1)
        else:
            least_bchw = upsample(least_bchw, map_bchw.shape[-1])
        is_maximum_bchw = (map_bchw >= least_bchw).to(map_bchw.dtype)
    return map_bchw * is_maximum_bchw  # three times as fast as masked_fill


Upsampling = Callable[[Tensor, int], Tensor]  # function from maps (b, c, h, h) and a side to maps (b, c, side, side)


def upsample(map_bchw: Tensor, side_px: int) -> Tensor:
    """Upsample by nearest neighbors (the paper's tiling); from 2 to 5 pixels by tiles of three, cropped.

    To another side that is no multiple, as from 12 to 25 pixels, one tile is larger than the others.
    """
    return F.interpolate(map_bchw, size=(side_px, side_px), mode="nearest")


def upsample_bilinear(map_bchw: Tensor, side_px: int) -> Tensor:
    """Upsample bilinearly, with pixels as squares; the paper's code aligns the centers of corner pixels instead."""
    return F.interpolate(map_bchw, size=(side_px, side_px), mode="bilinear", align_corners=False)


class LearnedUpsampling(nn.Module):
    """Transposed convolution with one kernel (2r-1, 2r-1) for all channels, for a factor r, without bias.

    Each coarse pixel spreads the kernel around the first pixel of its tile. From 2 to 5 pixels it upsamples to 6 and
    crops, as in the paper's code. To another side that is no multiple, as from 12 to 25 pixels, it upsamples by the
    factor rounded down, and then by nearest neighbors: to crop would move the map.
    """

    def __init__(self, coarse_px: int, fine_px: int):
        super().__init__()
        self.crops = (coarse_px, fine_px) == (2, 5)
        self.factor = math.ceil(fine_px / coarse_px) if self.crops else fine_px // coarse_px
        self.kernel = nn.Parameter(torch.empty(2 * self.factor - 1, 2 * self.factor - 1))

    def forward(self, map_bchw: Tensor, side_px: int) -> Tensor:
        """Upsample maps (b, c, h, h) to maps (b, c, side, side)."""
        num_channels, r = map_bchw.shape[1], self.factor
        shared = self.kernel.expand(num_channels, 1, -1, -1)
        with torch.autocast(map_bchw.device.type, enabled=False):  # six times as slow in bf16 on the CPU
            fine_bchw = F.conv_transpose2d(
                map_bchw.to(shared.dtype), shared, stride=r, padding=r - 1, output_padding=r - 1, groups=num_channels
            )
        if not self.crops and fine_bchw.shape[-1] != side_px:
            return upsample(fine_bchw, side_px).to(map_bchw.dtype)
        return fine_bchw[..., :side_px, :side_px].to(map_bchw.dtype)


def make_upsampling(kind: Literal["tile", "bilinear", "learned"], coarse_px: int, fine_px: int) -> Upsampling:
    """Create the upsampling from one resolution to a finer one; ``learned`` is a module with its own kernel."""
    match kind:
        case "tile":
            return upsample
        case "bilinear":
            return upsample_bilinear
        case "learned":
            return LearnedUpsampling(coarse_px, fine_px)


def kernel_size(side_px: int, kernel: int = 3) -> int:
    """Side of a kernel: 1 for maps of a single pixel, otherwise ``kernel``."""
    return 1 if side_px == 1 else kernel


class Encoder(nn.ModuleList):
    """One 3x3 convolution and ReLU for each resolution, with max pooling between them."""

    def __init__(self, in_channels: int, channels: Sequence[int], sides_px: Sequence[int]):
        super().__init__(
            same_conv(c_in, c_out, kernel_size(side_px))
            for c_in, c_out, side_px in zip((in_channels, *channels), channels, sides_px, strict=False)
        )

    def forward(self, image_bchw: Tensor) -> list[Tensor]:
        """Compute the maps of all resolutions, finest first."""
        maps: list[Tensor] = []
        for conv in self:
            maps.append(F.relu_(conv(halve(maps[-1]) if maps else image_bchw)))
        return maps


RecombinationForm = Literal["transposed", "separate", "concatenated"]


class Recombination(nn.Module):
    """Convolution of an encoder map concatenated with the upsampled map of the next coarser branch.

    The parameters are those of a plain convolution of the concatenation (encoder map first). If tiling exactly doubles
    the side, neither the concatenation nor the upsampled map is computed:

        conv(cat(T, up2(m)); W) = conv(T; Wa) + conv_transpose(m; K(Wb), stride 2)

    Here K(Wb) is the part of the kernel for the branch, summed over the 2x2 tile of each coarse pixel. In the plain
    form a training step takes 1.15 to 1.6 times as long. Which form is the fastest depends on processor and size;
    ``form`` chooses among those that are exact: this one (``transposed``), ``separate`` convolutions of both maps, or
    the plain one (``concatenated``).

    The plain form is used from 2 to 5 pixels, across an omitted branch, and for the other two kinds of upsampling,
    for which this form is not exact at the border: there the convolution is to see zeros, not maps spread further.
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
        self.form: RecombinationForm = "transposed"

    def forward(self, encoded_bchw: Tensor, coarse_bchw: Tensor) -> Tensor:
        """Combine an encoder map (b, encoder, h, h) and a coarser map (b, coarse, g, g) to maps (b, out, h, h)."""
        side_px = encoded_bchw.shape[-1]
        if self.form == "concatenated" or not self.has_forms(encoded_bchw, coarse_bchw):
            stacked_bchw = torch.cat([encoded_bchw, self.upsampling(coarse_bchw, side_px)], dim=1)
            return self.conv(stacked_bchw)  # type: ignore[no-any-return]
        weight, padding = self.conv.weight, self.conv.padding[0]
        assert isinstance(padding, int)
        encoder_weight, coarse_weight = weight[:, : self.encoder_channels], weight[:, self.encoder_channels :]
        fine = F.conv2d(encoded_bchw, encoder_weight, self.conv.bias, padding=padding)
        if self.form == "separate":
            return fine.add_(F.conv2d(upsample(coarse_bchw, side_px), coarse_weight, padding=padding))
        return fine.add_(F.conv_transpose2d(coarse_bchw, tiled_kernel(coarse_weight), stride=2, padding=padding))

    def has_forms(self, encoded_bchw: Tensor, coarse_bchw: Tensor) -> bool:
        """Whether these maps can be combined in other forms than the plain one."""
        return self.upsampling is upsample and encoded_bchw.shape[-1] == 2 * coarse_bchw.shape[-1]


def recombinations(network: nn.Module) -> list[Recombination]:
    """List the recombinations of a network, coarsest first."""
    return [module for module in network.modules() if isinstance(module, Recombination)]


def set_recombination_forms(network: nn.Module, forms: Sequence[RecombinationForm]) -> None:
    """Set the form of each recombination, coarsest first; all are ``transposed`` if ``forms`` is empty."""
    modules = recombinations(network)
    if forms and len(forms) != len(modules):
        raise RcnSearchError(
            f"compute.recombination has {len(forms)} forms, but the network has {len(modules)} recombinations: set it "
            "to auto"
        )
    for number, module in enumerate(modules):
        module.form = forms[number] if forms else "transposed"


def tiled_kernel(weight_oihw: Tensor) -> Tensor:
    """Compute the kernel (i, o, h + 1, w + 1) of a transposed convolution that replaces upsampling and convolution.

    With stride 2, it equals 2x upsampling by tiling followed by a convolution with the given kernel.
    """
    padded = F.pad(weight_oihw, (1, 1, 1, 1))
    rows = padded[:, :, 1:] + padded[:, :, :-1]
    return (rows[..., 1:] + rows[..., :-1]).flip(2, 3).transpose(0, 1)
