"""Contract of a network of your own: `check_network` says what is wrong with one, before hours of training do.

In a test: ``check_network(Tiny, num_points=7, input_px=80, args={"width": 6})``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rcn_search.config.network_target import allow_target, describe
from rcn_search.config.schema import CustomConfig
from rcn_search.errors import RcnSearchError
from rcn_search.models.complexity import count_parameters
from rcn_search.models.custom import CustomNetwork, build_custom, check_output
from rcn_search.models.tcdcn import TcdcnOutput

_RELATIVE, _ABSOLUTE = 1e-3, 1e-4
"""Tolerance of outputs that differ by rounding alone."""


@dataclass(frozen=True)
class NetworkReport:
    """What `check_network` found.

    Attributes:
        output: ``logits 20×20`` or ``points``.
        num_parameters: Number of trainable values.
        unused: Names of parameters on which the output does not depend; they are never trained.
    """

    output: str
    num_parameters: int
    unused: tuple[str, ...]


def check_network(
    network: str | type[nn.Module],
    *,
    num_points: int = 5,
    input_px: int = 80,
    in_channels: int = 1,
    args: Mapping[str, Any] | None = None,
) -> NetworkReport:
    """Check that a class of networks can be searched, trained and evaluated as ``model: {name: custom, …}``.

    Args:
        network: The class, or its name as in ``model.target``. It must be importable by that name.
        num_points: Number of keypoints.
        input_px: Side of the input.
        in_channels: 1 for gray images, 3 for color.
        args: Its other arguments, as in ``model.args``.

    Raises:
        RcnSearchError: A line for each requirement that it does not meet: what was expected, and what came.
    """
    target = network if isinstance(network, str) else f"{network.__module__}:{network.__qualname__}"
    config = CustomConfig.model_validate({"name": "custom", "target": target, "args": dict(args or {})})
    allow_target(config.target)

    def build(seed: int) -> CustomNetwork:
        return build_custom(config, num_points, input_px, in_channels, seed=seed)

    built = build(0)
    check_output(built)  # without an output of the right shape, nothing below means anything
    problems = [problem for check in _CHECKS for problem in _run(check, build)]
    if problems:
        raise RcnSearchError(f"{target} does not meet the contract of a network:\n  " + "\n  ".join(problems))
    native: Tensor = built.eval().module(_images(built, 1))
    output = "points" if native.ndim == 3 else f"logits {native.shape[2]}×{native.shape[3]}"
    return NetworkReport(output, count_parameters(built), tuple(_without_gradient(built)))


Build = Callable[[int], CustomNetwork]
"""Builds the network with the weights of a seed."""


def _run(check: Callable[[Build], Iterator[str]], build: Build) -> list[str]:
    try:
        return list(check(build))
    except Exception as error:
        return [f"{check.__name__.removeprefix('_').replace('_', ' ')}: raised {describe(error)}"]


def _weights_depend_on_the_seed_alone(build: Build) -> Iterator[str]:
    first, again = build(7).state_dict(), build(7).state_dict()
    different = [name for name, value in first.items() if not torch.equal(value, again[name])]
    if different:
        yield f"two networks of one seed have other weights ({different[0]}): draw them with torch's default generator"


def _state_is_all_in_the_state_dict(build: Build) -> Iterator[str]:
    first, other = build(1).eval(), build(2).eval()
    other.load_state_dict(first.state_dict())
    image_bchw = _images(first, 2)
    with torch.no_grad():
        if not _close(_values(first(image_bchw)), _values(other(image_bchw))):
            yield (
                "a network with the weights of another gives another output: keep all that it needs in parameters and "
                "buffers, or checkpoints cannot restore it; and draw no random numbers in evaluation mode"
            )


def _images_do_not_depend_on_each_other(build: Build) -> Iterator[str]:
    network = build(0).eval()
    image_bchw = _images(network, 3)
    with torch.no_grad():
        if not _close(_values(network(image_bchw[:1])), _values(network(image_bchw))[:1]):
            yield "in evaluation mode the output of an image depends on the others of its batch"


def _a_training_step_reaches_parameters(build: Build) -> Iterator[str]:
    network = build(0)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not parameters:
        yield "it has no trainable parameter"
        return
    if len(_without_gradient(network)) == len(parameters):
        yield "the output depends on no parameter: keep the output attached to the graph (no detach, no argmax)"
    bad = [name for name, p in network.named_parameters() if p.grad is not None and not bool(p.grad.isfinite().all())]
    if bad:
        yield f"the gradient of {bad[0]} is not finite"


def _a_last_batch_may_have_one_image(build: Build) -> Iterator[str]:
    network = build(0).train()
    with torch.no_grad():
        network(_images(network, 1))
    yield from ()


def _half_precision_and_channels_last_are_possible(build: Build) -> Iterator[str]:
    network = build(0).eval()
    image_bchw = _images(network, 2)
    with torch.no_grad():
        plain = _values(network(image_bchw))
        network.to_device("cpu", torch.channels_last)
        if not _close(_values(network(image_bchw.contiguous(memory_format=torch.channels_last))), plain):
            yield "its output depends on the memory layout (channels last): use reshape in place of view"
        with torch.autocast("cpu", torch.bfloat16):
            if not bool(_values(network(image_bchw)).isfinite().all()):
                yield "its output is not finite in bf16; set compute.precision to fp32"


_CHECKS = (
    _weights_depend_on_the_seed_alone,
    _state_is_all_in_the_state_dict,
    _images_do_not_depend_on_each_other,
    _a_training_step_reaches_parameters,
    _a_last_batch_may_have_one_image,
    _half_precision_and_channels_last_are_possible,
)


def _images(network: CustomNetwork, batch: int) -> Tensor:
    shape = (batch, network.in_channels, network.input_px, network.input_px)
    return torch.rand(shape, generator=torch.Generator().manual_seed(3))


def _values(output: Tensor | TcdcnOutput) -> Tensor:
    return output if isinstance(output, Tensor) else output.points_bk2


def _close(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first.float(), second.float(), rtol=_RELATIVE, atol=_ABSOLUTE)


def _without_gradient(network: CustomNetwork) -> list[str]:
    """Compute the gradient of some function of the output; return the trainable parameters that have none."""
    network.zero_grad()
    values = _values(network.train()(_images(network, 2)))
    if values.requires_grad:
        values.float().square().sum().backward()
    return [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
