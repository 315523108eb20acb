"""Networks that users bring (``model: {name: custom, target: "package.module:Class"}``), behind the contract of ours.

The class is called as ``Class(num_points=…, input_px=…, in_channels=…, **args)`` and has to be a `torch.nn.Module`. Its
module maps contrast-normalized images (b, c, h, h), float32, to one of

- logits (b, k, g, g), one map for each keypoint, of any side g that divides h; they are upsampled bilinearly to h, so
  that losses, decoders, test-time augmentation and export are those of every network;
- points (b, k, 2), x and y in window coordinates: 0 is the left or top edge, 1 the right or bottom edge.

Shape letters: b images, c channels, k points, h rows and columns of the image, g of the maps.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from rcn_search.config.network_target import TargetError, describe, import_target
from rcn_search.config.schema import CustomConfig
from rcn_search.models.blocks import Network, upsample_bilinear
from rcn_search.models.tcdcn import TcdcnOutput

_CHECK_SEED = 0


class CustomNetwork(Network):
    """A user's module as a `Network`; its weights are initialized by its own code."""

    def __init__(self, module: nn.Module, name: str, num_points: int, input_px: int, in_channels: int):
        super().__init__()
        self.module, self.name = module, name
        self.num_points, self.input_px, self.in_channels = num_points, input_px, in_channels

    def forward(self, image_bchw: Tensor) -> Tensor | TcdcnOutput:
        """Compute logits (b, k, h, h), or points (b, k, 2) without attributes, in float32.

        Raises:
            TargetError: The module returns something else.
        """
        output = self.module(image_bchw)
        batch, side_px = image_bchw.shape[0], image_bchw.shape[-1]  # len would fix the batch size of an exported graph
        if not isinstance(output, Tensor):
            raise TargetError(f"{self.name} returns a {type(output).__name__}, not a tensor; {self._wanted(batch)}")
        shape = tuple(output.shape)
        if not output.is_floating_point():
            raise TargetError(f"{self.name} returns {output.dtype} values, not real numbers; {self._wanted(batch)}")
        if shape == (batch, self.num_points, 2):
            return TcdcnOutput(output.float(), {})
        is_map = len(shape) == 4 and shape[:2] == (batch, self.num_points) and shape[2] == shape[3] > 0
        if not is_map or side_px % shape[2]:
            raise TargetError(f"{self.name} returns a tensor of shape {shape}; {self._wanted(batch)}")
        return output if shape[2] == side_px else upsample_bilinear(output.float(), side_px)

    def _wanted(self, batch: int) -> str:
        return (
            f"wanted are logits ({batch}, {self.num_points}, g, g) of a side g that divides {self.input_px}, or points "
            f"({batch}, {self.num_points}, 2)"
        )

    def l2_groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return no weights of an encoder, and those of all convolutions and linear layers, each once."""
        layers = [layer for layer in self.modules() if isinstance(layer, _ConvNd | nn.Linear)]
        weights = (dict(layer.named_parameters(recurse=False)).get("weight") for layer in layers)
        return [], list({id(weight): weight for weight in weights if weight is not None}.values())


def build_custom(
    config: CustomConfig, num_points: int, input_px: int, in_channels: int, *, seed: int = 0
) -> CustomNetwork:
    """Import and build a user's network on the CPU, with the weights that its code draws from ``seed``.

    The global random state is neither read nor changed.

    Raises:
        TargetError: The class may not be imported here, cannot be imported, is no module, or cannot be built.
    """
    target = import_target(config.target)
    if not (inspect.isclass(target) and issubclass(target, nn.Module)):
        raise TargetError(f"model.target = {config.target} is not a class derived from torch.nn.Module")
    arguments = {"num_points": num_points, "input_px": input_px, "in_channels": in_channels, **config.args}
    _check_arguments(target, config, arguments)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            module = target(**arguments)
        except Exception as error:
            raise TargetError(f"{describe_call(config, arguments)} raised {describe(error)}") from error
    if any(parameter.is_meta for parameter in module.parameters()):
        raise TargetError(f"{config.target} has parameters on the device meta, which have no values")
    return CustomNetwork(module.float().cpu(), config.target, num_points, input_px, in_channels)


def _check_arguments(target: type[nn.Module], config: CustomConfig, arguments: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise TargetError(
            f"{config.target}{signature} cannot be called with {', '.join(arguments)}: {error}; num_points, input_px "
            "and in_channels are always given, the others are model.args"
        ) from None


def describe_call(config: CustomConfig, arguments: Mapping[str, Any]) -> str:
    """Write a call as Python does."""
    return f"{config.target}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"


@torch.no_grad()
def check_output(network: CustomNetwork, batch: int = 2) -> Tensor | TcdcnOutput:
    """Run a network on random images, and return its output. Neither weights nor the global random state change.

    Raises:
        TargetError: It raises, or returns the wrong shape or values that are not finite.
    """
    generator = torch.Generator().manual_seed(_CHECK_SEED)
    shape = (batch, network.in_channels, network.input_px, network.input_px)
    image_bchw = torch.rand(shape, generator=generator)
    device = next((parameter.device for parameter in network.parameters()), image_bchw.device)
    was_training = network.training
    network.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            output: Tensor | TcdcnOutput = network(image_bchw.to(device))
    except TargetError:
        raise
    except Exception as error:
        raise TargetError(f"{network.name} raised {describe(error)} for images of shape {shape}") from error
    finally:
        network.train(was_training)
    values = output if isinstance(output, Tensor) else output.points_bk2
    if not bool(values.isfinite().all()):
        raise TargetError(f"{network.name} returns values that are not finite for random images in 0..1")
    return output
