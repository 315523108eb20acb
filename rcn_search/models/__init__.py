"""Keypoint models by their names in a configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rcn_search.config.schema import CustomConfig, ModelConfig, TimmConfig
from rcn_search.models.blocks import Network
from rcn_search.models.custom import CustomNetwork, build_custom
from rcn_search.models.denoiser import Denoiser
from rcn_search.models.rcn import RCN
from rcn_search.models.sumnet import SumNet
from rcn_search.models.tcdcn import TCDCN
from rcn_search.models.timm_network import build_timm

_BUILDERS: dict[str, Callable[[Any, int, int, int], Network]] = {
    "rcn": RCN,
    "sumnet": SumNet,
    "tcdcn": TCDCN,
    "denoiser": Denoiser,
}


def build_without_memory(model: ModelConfig, *, num_points: int, input_px: int, in_channels: int) -> Network:
    """Build a model on PyTorch's device ``meta``: with shapes and types, but without values.

    Networks of other code, custom ones and those of timm, are built with values, since it may need them.
    """
    if isinstance(model, CustomConfig | TimmConfig):
        return build_imported(model, num_points, input_px, in_channels)
    with torch.device("meta"):  # PyTorch's own initialization would use the global random state
        return _BUILDERS[model.name](model, num_points, input_px, in_channels)


def build_model(
    model: ModelConfig, *, num_points: int, input_px: int = 80, in_channels: int = 1, seed: int = 0
) -> Network:
    """Build a model in fp32 on the CPU, with random weights.

    The network maps contrast-normalized images (b, in_channels, h, h), with h = ``input_px``, to logits (b, K, h, h) or
    a `TcdcnOutput`. The denoiser maps cells (b, K, 2) int64 to logits and ignores ``in_channels``. The global random
    state is neither read nor changed.

    Raises:
        RcnSearchError: The input is too small for the model, or a network of other code cannot be imported or built.
    """
    if isinstance(model, CustomConfig | TimmConfig):
        return build_imported(model, num_points, input_px, in_channels, seed=seed)
    network = build_without_memory(model, num_points=num_points, input_px=input_px, in_channels=in_channels)
    # Equivalent to `to_empty`, which imports SymPy for a quarter of a second.
    network.load_state_dict(
        {name: torch.empty(weight.shape) for name, weight in network.state_dict().items()}, assign=True
    )
    network.reset_parameters(torch.Generator().manual_seed(seed))
    return network


def build_imported(
    model: CustomConfig | TimmConfig, num_points: int, input_px: int, in_channels: int, *, seed: int = 0
) -> CustomNetwork:
    """Build a network of other code, a user's or timm's; as `build_model`."""
    build: Callable[..., CustomNetwork] = build_custom if isinstance(model, CustomConfig) else build_timm
    return build(model, num_points, input_px, in_channels, seed=seed)
