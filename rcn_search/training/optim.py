"""Optimizers, learning-rate schedules and the moving average of weights."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rcn_search.config.schema import OptimizerConfig, ScheduleConfig
from rcn_search.models.blocks import Network

ADADELTA_RHO = 0.95
ADADELTA_EPS = 1e-8  # as in the paper's code; the default of PyTorch is 1e-6
START_FACTOR = 1 / 25  # learning rate of the first step of the warm-up, as a fraction of the peak
MUON_SMALLEST_SIDE = 16  # smallest side of the kernels, as matrices, that Muon optimizes; AdamW optimizes the others


LR_SCALE = "lr_scale"
"""Key of an optimizer's parameter groups: factor of the learning rate of each step."""


def build_optimizers(
    network: Network, options: OptimizerConfig, lr_scales: Mapping[str, float] | None = None
) -> list[torch.optim.Optimizer]:
    """Build the optimizers that together optimize all parameters; only convolution and linear weights are decayed.

    A coefficient c of squared weights in the loss is a weight decay of 2c. ``lr_scales`` are factors of the learning
    rate by name of parameter, 1 where there is none.
    """
    scales = {id(parameter): (lr_scales or {}).get(name, 1.0) for name, parameter in network.named_parameters()}
    trunk, branch = network.l2_groups()
    weights = [*trunk, *branch]
    rest = _others(network, weights)
    if options.name == "adadelta":
        decays = (trunk, 2 * options.l2_encoder), (branch, 2 * options.l2_branches), (rest, 0.0)
        groups = [group for params, decay in decays for group in _groups(params, decay, scales)]
        return [torch.optim.Adadelta(groups, lr=options.lr, rho=ADADELTA_RHO, eps=ADADELTA_EPS)]
    matrices = [w for w in weights if options.name == "muon" and min(len(w), w[0].numel()) >= MUON_SMALLEST_SIDE]
    decayed = _others(network, [*rest, *matrices])
    groups = [*_groups(decayed, options.weight_decay, scales), *_groups(rest, 0.0, scales)]
    adamw = torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.99), fused=True)
    return [_muon(matrices, options, scales), adamw] if matrices else [adamw]


def _groups(
    parameters: Sequence[nn.Parameter], weight_decay: float, scales: Mapping[int, float]
) -> list[dict[str, Any]]:
    """Make a parameter group for each factor of the learning rate; one, perhaps empty, where all have the same."""
    factors = dict.fromkeys(scales[id(parameter)] for parameter in parameters) or {1.0: None}
    return [
        {
            "params": [parameter for parameter in parameters if scales[id(parameter)] == factor],
            "weight_decay": weight_decay,
            LR_SCALE: factor,
        }
        for factor in factors
    ]


def layer_lr_scales(network: Network, decay: float, new_names: Collection[str] = ()) -> dict[str, float]:
    """Compute a factor of the learning rate for each parameter: 1 in the last layer, ``decay`` in the one before it.

    The factor of each earlier layer is ``decay`` times that of the next one (Howard and Ruder 2018, sec. 3.2). Layers
    are those with parameters of their own, in the order in which the network has them. ``new_names`` have the factor 1.
    """
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name, _ in network.named_parameters()))
    depth = {layer: len(layers) - 1 - index for index, layer in enumerate(layers)}
    return {
        name: 1.0 if name in new_names else decay ** depth[name.rpartition(".")[0]]
        for name, _ in network.named_parameters()
    }


def _others(network: Network, parameters: list[nn.Parameter]) -> list[nn.Parameter]:
    known = {id(parameter) for parameter in parameters}
    return [parameter for parameter in network.parameters() if id(parameter) not in known]


def _muon(
    kernels_oihw: list[nn.Parameter], options: OptimizerConfig, scales: Mapping[int, float]
) -> torch.optim.Optimizer:
    """Build Muon (Jordan, 2024), which orthogonalizes the momentum of matrices, with steps of the size of AdamW's.

    PyTorch's Muon accepts matrices only, so it gets views of the kernels and, before each step, of their gradients.
    """
    views = [nn.Parameter(_as_matrix(kernel.detach(), kernel)) for kernel in kernels_oihw]
    assert all(view.data_ptr() == kernel.data_ptr() for view, kernel in zip(views, kernels_oihw, strict=True))
    view_scales = {id(view): scales[id(kernel)] for view, kernel in zip(views, kernels_oihw, strict=True)}
    groups = _groups(views, options.weight_decay, view_scales)
    muon = torch.optim.Muon(groups, lr=options.lr, adjust_lr_fn="match_rms_adamw")

    def view_gradients(*_: object) -> None:
        for view, kernel in zip(views, kernels_oihw, strict=True):
            # A custom network may have weights that an output does not depend on.
            view.grad = None if kernel.grad is None else _as_matrix(kernel.grad, kernel)

    muon.register_step_pre_hook(view_gradients)
    return muon


def _as_matrix(tensor_oihw: Tensor, kernel_oihw: Tensor) -> Tensor:
    """View a kernel as a matrix (o, i * h * w), columns in memory order, which does not matter to Muon."""
    return (tensor_oihw if kernel_oihw.is_contiguous() else tensor_oihw.permute(0, 2, 3, 1)).flatten(1)


def learning_rate(step: int, num_steps: int, options: OptimizerConfig, schedule: ScheduleConfig) -> float:
    """Compute the learning rate of a step (from 0): constant, or a linear warm-up and half a cosine down to zero."""
    if schedule.lr_schedule == "constant":
        return options.lr
    num_warmup = round(schedule.warmup_fraction * num_steps)
    if step < num_warmup:
        return options.lr * (START_FACTOR + (1 - START_FACTOR) * step / num_warmup)
    return options.lr * (1 + math.cos(math.pi * (step - num_warmup) / max(1, num_steps - num_warmup))) / 2


class MovingAverage:
    """Exponential moving average of a network's parameters; the arithmetic mean during the first steps."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights: list[Tensor] = [parameter.detach().clone() for parameter in network.parameters()]

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Include the weights after step ``step`` (from 0)."""
        fraction = max(1 - self.decay, 1 / (step + 2))
        torch._foreach_lerp_(self.weights, [p.detach() for p in network.parameters()], fraction)
