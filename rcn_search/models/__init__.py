"""The keypoint models, by the name under which a configuration asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rcn_search.config.schema import ModelConfig
from rcn_search.models.blocks import Network
from rcn_search.models.denoiser import Denoiser
from rcn_search.models.rcn import RCN
from rcn_search.models.sumnet import SumNet
from rcn_search.models.tcdcn import TCDCN

_BUILDERS: dict[str, Callable[[Any, int, int, int], Network]] = {
    "rcn": RCN,
    "sumnet": SumNet,
    "tcdcn": TCDCN,
    "denoiser": Denoiser,
}


def build_model(
    model: ModelConfig, *, num_points: int, input_px: int = 80, in_channels: int = 1, seed: int = 0
) -> Network:
    """Build a model in fp32 on the CPU, its weights drawn by a generator of its own.

    Args:
        model: What to build.
        num_points: Keypoints K of the schema.
        input_px: Side h of the input, and of the maps of a map model.
        in_channels: Of the image, 1 or 3; nothing to the denoiser, which sees points.
        seed: Seed of the weights; the global random state is neither read nor changed.

    Returns:
        A model from contrast-normalized images (b, c, h, h) to logits (b, K, h, h), or to a `TcdcnOutput`; the denoiser
        from cells (b, K, 2) int64 to logits.

    Raises:
        RcnSearchError: The input is too small for the model.
    """
    with torch.device("meta"):  # torch's own initialisation would draw from the global state
        network = _BUILDERS[model.name](model, num_points, input_px, in_channels)
    # As `to_empty`, which takes a quarter of a second to import SymPy.
    network.load_state_dict(
        {name: torch.empty(weight.shape) for name, weight in network.state_dict().items()}, assign=True
    )
    network.reset_parameters(torch.Generator().manual_seed(seed))
    return network
