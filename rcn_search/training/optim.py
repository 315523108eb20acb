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


LR_SCALE, DEVICE_LR = "lr_scale", "device_lr"
"""Keys of an optimizer's parameter groups: factor of the learning rate of each step; that rate, where Muon scales its
steps itself."""


def build_optimizers(
    network: Network, options: OptimizerConfig, lr_scales: Mapping[str, float] | None = None, *, on_device: bool = False
) -> list[torch.optim.Optimizer]:
    """Build the optimizers that together optimize all parameters; only convolution and linear weights are decayed.

    A coefficient c of squared weights in the loss is a weight decay of 2c. ``lr_scales`` are factors of the learning
    rate by name of parameter, 1 where there is none.

    With ``on_device`` learning rates are in memory of the device, where a captured step finds those of later steps.
    """
    scales = {id(parameter): (lr_scales or {}).get(name, 1.0) for name, parameter in network.named_parameters()}
    trunk, branch = network.l2_groups()
    weights = [*trunk, *branch]
    rest = _others(network, weights)
    if options.name == "adadelta":
        decays = (trunk, 2 * options.l2_encoder), (branch, 2 * options.l2_branches), (rest, 0.0)
        groups = [group for params, decay in decays for group in _groups(params, decay, scales)]
        if on_device:
            _keep_rates_on_device(groups, "lr")
        foreach = True if on_device else None  # PyTorch's other form would read the rate back
        adadelta = torch.optim.Adadelta(
            groups, lr=options.lr, rho=ADADELTA_RHO, eps=ADADELTA_EPS, foreach=foreach, capturable=on_device
        )
        return [adadelta]
    matrices = [w for w in weights if options.name == "muon" and min(len(w), w[0].numel()) >= MUON_SMALLEST_SIDE]
    decayed = _others(network, [*rest, *matrices])
    groups = [*_groups(decayed, options.weight_decay, scales), *_groups(rest, 0.0, scales)]
    if on_device:
        _keep_rates_on_device(groups, "lr")
    adamw = torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.99), fused=True, capturable=on_device)
    make_muon = _device_rate_muon if on_device else _muon
    return [make_muon(matrices, options, scales), adamw] if matrices else [adamw]


def set_learning_rate(optimizers: Sequence[torch.optim.Optimizer], lr: float) -> None:
    """Set the learning rate of the next step, without waiting for the device."""
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        rate = group.get(DEVICE_LR, group["lr"])
        if isinstance(rate, Tensor):
            rate.fill_(lr * group[LR_SCALE])
        else:
            group["lr"] = lr * group[LR_SCALE]


def _keep_rates_on_device(groups: Sequence[dict[str, Any]], key: str) -> None:
    for group in groups:
        device = group["params"][0].device if group["params"] else torch.device("cpu")
        # Kernels of a GPU read float32; on the CPU double precision gives the result that a number gives.
        group[key] = torch.zeros((), device=device, dtype=torch.float64 if device.type == "cpu" else torch.float32)


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
    views = _matrix_views(kernels_oihw)
    view_scales = {id(view): scales[id(kernel)] for view, kernel in zip(views, kernels_oihw, strict=True)}
    groups = _groups(views, options.weight_decay, view_scales)
    muon = torch.optim.Muon(groups, lr=options.lr, adjust_lr_fn="match_rms_adamw")
    muon.register_step_pre_hook(lambda *_: _view_gradients(views, kernels_oihw))
    return muon


def _device_rate_muon(
    kernels_oihw: list[nn.Parameter], options: OptimizerConfig, scales: Mapping[int, float]
) -> torch.optim.Optimizer:
    """Build Muon whose learning rate is in memory of the device; PyTorch's would read it back.

    Muon takes steps of rate 1 from zeros, and the weights these steps times the learning rate.
    """
    views = _matrix_views(kernels_oihw)
    moves = [nn.Parameter(torch.zeros_like(view)) for view in views]
    view_of = {id(move): view for move, view in zip(moves, views, strict=True)}
    move_scales = {id(move): scales[id(kernel)] for move, kernel in zip(moves, kernels_oihw, strict=True)}
    groups = _groups(moves, 0.0, move_scales)
    _keep_rates_on_device(groups, DEVICE_LR)
    muon = torch.optim.Muon(groups, lr=1.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def start(*_: object) -> None:
        torch._foreach_zero_([*moves])
        _view_gradients(moves, kernels_oihw)

    @torch.no_grad()
    def apply(*_: object) -> None:
        for group in muon.param_groups:
            moved, rate = group["params"], group[DEVICE_LR]
            weights: list[Tensor] = [view_of[id(move)] for move in moved]
            torch._foreach_mul_(weights, (1 - rate * options.weight_decay).to(weights[0].dtype))
            torch._foreach_mul_(moved, rate.to(weights[0].dtype))
            torch._foreach_add_(weights, moved)

    muon.register_step_pre_hook(start)
    muon.register_step_post_hook(apply)
    return muon


def _matrix_views(kernels_oihw: list[nn.Parameter]) -> list[nn.Parameter]:
    views = [nn.Parameter(_as_matrix(kernel.detach(), kernel)) for kernel in kernels_oihw]
    assert all(view.data_ptr() == kernel.data_ptr() for view, kernel in zip(views, kernels_oihw, strict=True))
    return views


def _view_gradients(matrices: list[nn.Parameter], kernels_oihw: list[nn.Parameter]) -> None:
    for matrix, kernel in zip(matrices, kernels_oihw, strict=True):
        # A custom network may have weights that an output does not depend on.
        matrix.grad = None if kernel.grad is None else _as_matrix(kernel.grad, kernel)


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

    def __init__(self, network: nn.Module, decay: float, *, on_device: bool = False) -> None:
        """Begin with the weights as they are; ``on_device`` as in `build_optimizers`."""
        self.decay = decay
        self.weights: list[Tensor] = [parameter.detach().clone() for parameter in network.parameters()]
        self._fraction: float | Tensor = self.weights[0].new_zeros(()) if on_device else 0.0

    def begin_step(self, step: int) -> None:
        """Set how much step ``step`` (from 0) counts, without waiting for the device."""
        fraction = max(1 - self.decay, 1 / (step + 2))
        if isinstance(self._fraction, Tensor):
            self._fraction.fill_(fraction)
        else:
            self._fraction = fraction

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Include the weights after the step."""
        parameters = [parameter.detach() for parameter in network.parameters()]
        if isinstance(self._fraction, float):
            torch._foreach_lerp_(self.weights, parameters, self._fraction)
        else:
            differences = torch._foreach_sub(parameters, self.weights)
            torch._foreach_mul_(differences, self._fraction)
            torch._foreach_add_(self.weights, differences)
