"""Number of parameters and multiply-adds of a model, counted exactly."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rcn_search.models.composite import FlipAverage, JointModel
from rcn_search.models.custom import CustomNetwork
from rcn_search.models.denoiser import Denoiser


def count_parameters(module: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def multiply_adds(module: nn.Module, input_px: int) -> int:
    """Count the multiply-adds of the network for one face; border pixels count like all others.

    For a network of images, these are the products that it computes; `Recombination` needs fewer than the paper's form
    (RCN with 6 branches and 5 points: 93 million instead of 115). For the denoiser, these are dense convolutions (163
    billion in the paper's size), although its fast forms need far fewer.
    """
    if isinstance(module, Denoiser):
        return sum(p.numel() for p in module.parameters() if p.ndim == 4) * input_px**2
    if isinstance(module, JointModel):
        return sum(multiply_adds(part, input_px) for part in (module.network, module.denoiser))
    if isinstance(module, FlipAverage):
        return 2 * multiply_adds(module.network, input_px)
    if isinstance(module, CustomNetwork):
        in_channels = module.in_channels
    else:
        in_channels = next(layer.in_channels for layer in module.modules() if isinstance(layer, nn.Conv2d))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copy.deepcopy(module).to("cpu").eval()(torch.zeros(1, in_channels, input_px, input_px))
    return int(counter.get_total_flops()) // 2
