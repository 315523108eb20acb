"""What a model costs, counted rather than estimated."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rcn_search.models.denoiser import Denoiser
from rcn_search.models.flip_average import Mirrored
from rcn_search.models.joint import Joint


def count_parameters(module: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def multiply_adds(module: nn.Module, input_px: int) -> int:
    """Multiply-adds of one face's way through the network, border pixels counted as any other.

    Of a network that sees an image: of the convolutions and matrix products as they are carried out. The exact
    rewriting of the recombination (`blocks.Recombination`) needs fewer than the plain convolution over the
    concatenation: RCN with 6 branches and 5 points takes 93 million, and 115 million in the paper's form.

    Of the denoiser: of its convolutions in the dense form, one product per weight and pixel, which makes 163 thousand
    million in the paper's size. Its fast forms take far fewer, but products alone do not tell what they cost.
    Of the joint model: the sum of both. Of a mirrored one: both ways.
    """
    if isinstance(module, Denoiser):
        return sum(p.numel() for p in module.parameters() if p.ndim == 4) * input_px**2
    if isinstance(module, Joint):
        return sum(multiply_adds(part, input_px) for part in (module.network, module.denoiser))
    if isinstance(module, Mirrored):
        return 2 * multiply_adds(module.network, input_px)
    image_reader = next((layer for layer in module.modules() if isinstance(layer, nn.Conv2d)), None)
    assert image_reader is not None
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copy.deepcopy(module).to("cpu")(torch.zeros(1, image_reader.in_channels, input_px, input_px))
    return int(counter.get_total_flops()) // 2
