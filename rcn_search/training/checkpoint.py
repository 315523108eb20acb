"""Checkpoints: one safetensors object with the tensors, and JSON about them in its header. Nothing is ever unpickled.

Two kinds. ``best.safetensors`` holds the weights of a network and the configuration to rebuild it. ``last.safetensors``
holds all that a run needs to go on bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from rcn_search import storage
from rcn_search.config.legacy import upgrade_config
from rcn_search.config.schema import TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.keypoints import keypoint_schema
from rcn_search.models import build_model
from rcn_search.models.blocks import Network

SCHEMA_VERSION = 2
_HEADER_KEY = "rcn_search"
_MAX_HEADER_BYTES = 100_000_000


class CheckpointError(RcnSearchError):
    """A checkpoint is missing, damaged, or of another model; the message names it."""


class CheckpointInfo(BaseModel):
    """What the tensors of a checkpoint belong to."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: int = SCHEMA_VERSION
    kind: Literal["weights", "run"]
    config: TrainConfig
    keypoints: str
    data_fingerprint: str
    epoch: int
    val_error_pct: float | None
    train_s: float
    state: dict[str, Any] = {}


class Checkpoint(NamedTuple):
    """A checkpoint read back."""

    info: CheckpointInfo
    tensors: dict[str, Tensor]


def write_checkpoint(uri: str, info: CheckpointInfo, tensors: dict[str, Tensor]) -> None:
    """Publish a checkpoint whole, replacing an older one."""
    storage.write_bytes(uri, checkpoint_bytes(info, tensors))


def checkpoint_bytes(info: CheckpointInfo, tensors: dict[str, Tensor]) -> bytes:
    """A checkpoint as it is published; what becomes of the tensors afterwards does not change it."""
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(content, {_HEADER_KEY: info.model_dump_json()})  # type: ignore[no-any-return]


def read_checkpoint(uri: str) -> Checkpoint:
    """Read and check a checkpoint.

    Raises:
        CheckpointError: It is missing, damaged, not one of ours, or of a version this rcn-search cannot read.
    """
    try:
        content = storage.read_bytes(uri)
    except (FileNotFoundError, IsADirectoryError):
        raise CheckpointError(f"no checkpoint at {uri}") from None
    try:
        tensors = safetensors.torch.load(content)
        header_size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + min(header_size, _MAX_HEADER_BYTES)])
    except (safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(f"{uri} is not a readable safetensors file: {error}") from error
    text = header.get("__metadata__", {}).get(_HEADER_KEY)
    if text is None:
        raise CheckpointError(f"{uri} was not written by rcn-search: its header has no configuration")
    try:
        return Checkpoint(_read_info(text), tensors)
    except ValueError as error:
        raise CheckpointError(f"{uri}: this rcn-search cannot read its configuration: {error}") from error


def _read_info(text: str) -> CheckpointInfo:
    document = json.loads(text)
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version not in (1, SCHEMA_VERSION):  # checked first: nothing else need be right in another version
        raise RcnSearchError(f"it is of version {version}; this rcn-search reads versions 1 and {SCHEMA_VERSION}")
    if version == 1 and isinstance(document.get("config"), dict):
        document |= {"schema_version": SCHEMA_VERSION, "config": upgrade_config(document["config"])}
    return CheckpointInfo.model_validate(document)


def with_config(content: bytes, config: TrainConfig) -> bytes:
    """Replace the configuration in the header of a checkpoint; its tensors are copied byte for byte.

    Args:
        content: A safetensors file: eight bytes of header size, the header as JSON, the tensors.
        config: The new configuration.
    """
    header_size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + header_size])
    info = _read_info(header["__metadata__"][_HEADER_KEY]).model_copy(update={"config": config})
    header["__metadata__"][_HEADER_KEY] = info.model_dump_json()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + content[8 + header_size :]


def load_network(uri: str) -> tuple[Network, CheckpointInfo]:
    """The network of a checkpoint, in fp32 on the CPU, ready to predict.

    Raises:
        CheckpointError: See `read_checkpoint`; or its weights are those of another model.
    """
    info, tensors = read_checkpoint(uri)
    num_points = keypoint_schema(info.keypoints).num_points
    network = build_model(
        info.config.model,
        num_points=num_points,
        input_px=info.config.input.size_px,
        in_channels=info.config.input.channels,
    )
    load_weights(network, tensors, uri)
    return network.eval(), info


def load_weights(network: nn.Module, tensors: dict[str, Tensor], uri: str) -> None:
    """Copy ``model.*`` of a checkpoint into a network.

    Raises:
        CheckpointError: Names or shapes are those of another model.
    """
    weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    needed = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found != needed:
        name = next(name for name in sorted(found | needed) if found.get(name) != needed.get(name))
        raise CheckpointError(
            f"{uri} holds the weights of another model: {name} has shape {found.get(name, 'none')}; its configuration "
            f"needs {needed.get(name, 'none')}"
        )
    network.load_state_dict(weights)


def network_tensors(network: nn.Module) -> dict[str, Tensor]:
    """A network's weights as ``model.*``."""
    return {f"model.{name}": tensor for name, tensor in network.state_dict().items()}


def optimizer_tensors(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The state of optimisers as ``optim.<optimiser>.<parameter>.<name>`` tensors."""
    return {
        f"optim.{number}.{index}.{key}": torch.as_tensor(value)
        for number, optimizer in enumerate(optimizers)
        for index, values in optimizer.state_dict()["state"].items()
        for key, value in values.items()
    }


def load_optimizers(optimizers: Sequence[torch.optim.Optimizer], tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` took."""
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for name, tensor in tensors.items():
            if name.startswith(f"optim.{number}."):
                *_, index, key = name.split(".")
                like = parameters[int(index)]
                # Fused optimisers walk parameter and state side by side in memory, so the layouts must agree.
                laid_out = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
                state.setdefault(int(index), {})[key] = laid_out
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
