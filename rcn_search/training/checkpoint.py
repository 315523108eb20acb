"""Read and write checkpoints: one safetensors object whose header holds JSON. Nothing is ever unpickled.

``best.safetensors`` holds the weights of a network and the configuration to rebuild it. ``last.safetensors`` holds
everything from which a run is resumed with bit-identical results.
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
from rcn_search.config.schema import IMAGE_SIZE_PX, TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.keypoints import KeypointSchema, resolve_schema
from rcn_search.models import build_model
from rcn_search.models.blocks import Network

SCHEMA_VERSION = 2
_HEADER_KEY = "rcn_search"
_MAX_HEADER_BYTES = 100_000_000


class CheckpointError(RcnSearchError):
    """A checkpoint is missing, damaged, or belongs to another model; the message names it."""


class CheckpointInfo(BaseModel):
    """Metadata of a checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: int = SCHEMA_VERSION
    kind: Literal["weights", "run"]  # ``weights`` (best.safetensors) or ``run`` (last.safetensors)
    config: TrainConfig
    keypoints: str  # name of the keypoint schema
    schema_document: dict[str, Any] | None = None  # the schema, whole; older checkpoints only name a built-in one
    crop_px: int = IMAGE_SIZE_PX  # side of the stored crops that the network was trained on
    data_fingerprint: str
    epoch: int  # number of epochs that the run has trained
    val_error_pct: float | None  # validation error of that epoch
    train_s: float  # time spent on training and validation so far
    state: dict[str, Any] = {}  # state of a run to resume (kind ``run``)

    @property
    def keypoint_schema(self) -> KeypointSchema:
        """Keypoint schema of the predicted points."""
        return resolve_schema(self.keypoints, self.schema_document)


class Checkpoint(NamedTuple):
    """Metadata and tensors of a checkpoint."""

    info: CheckpointInfo
    tensors: dict[str, Tensor]


def checkpoint_bytes(info: CheckpointInfo, tensors: dict[str, Tensor]) -> bytes:
    """Serialize a checkpoint; later changes of the tensors do not affect it."""
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(content, {_HEADER_KEY: info.model_dump_json()})  # type: ignore[no-any-return]


def read_checkpoint(uri: str) -> Checkpoint:
    """Read and check a checkpoint.

    Raises:
        CheckpointError: The file is missing, damaged, not written by rcn-search, or of an unknown schema version.
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
    if version not in (1, SCHEMA_VERSION):  # checked first, because anything may differ in another version
        raise RcnSearchError(f"it is of version {version}; this rcn-search reads versions 1 and {SCHEMA_VERSION}")
    if version == 1 and isinstance(document.get("config"), dict):
        document |= {"schema_version": SCHEMA_VERSION, "config": upgrade_config(document["config"])}
    return CheckpointInfo.model_validate(document)


def with_config(content: bytes, config: TrainConfig) -> bytes:
    """Replace the configuration in a checkpoint: eight bytes of header size, JSON header, tensors (kept)."""
    header_size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + header_size])
    info = _read_info(header["__metadata__"][_HEADER_KEY]).model_copy(update={"config": config})
    header["__metadata__"][_HEADER_KEY] = info.model_dump_json()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + content[8 + header_size :]


def load_network(uri: str) -> tuple[Network, CheckpointInfo]:
    """Load the network of a checkpoint in fp32 on the CPU, in evaluation mode."""
    info, tensors = read_checkpoint(uri)
    num_points, options = info.keypoint_schema.num_points, info.config.input
    network = build_model(
        info.config.model, num_points=num_points, input_px=options.size_px, in_channels=options.channels
    )
    load_weights(network, tensors, uri)
    return network.eval(), info


def load_weights(network: nn.Module, tensors: dict[str, Tensor], uri: str) -> None:
    """Copy the tensors ``model.*`` of a checkpoint into a network."""
    weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    actual = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if actual != expected:
        name = next(name for name in sorted(actual | expected) if actual.get(name) != expected.get(name))
        raise CheckpointError(
            f"{uri} holds the weights of another model: {name} has shape {actual.get(name, 'none')}; its configuration "
            f"needs {expected.get(name, 'none')}"
        )
    network.load_state_dict(weights)


def network_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Name the weights of a network ``model.*``."""
    return {f"model.{name}": tensor for name, tensor in network.state_dict().items()}


def optimizer_tensors(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Collect the state of optimizers as tensors ``optim.<optimizer>.<parameter>.<name>``."""
    return {
        f"optim.{number}.{index}.{key}": torch.as_tensor(value)
        for number, optimizer in enumerate(optimizers)
        for index, values in optimizer.state_dict()["state"].items()
        for key, value in values.items()
    }


def load_optimizers(optimizers: Sequence[torch.optim.Optimizer], tensors: dict[str, Tensor]) -> None:
    """Restore the state of optimizers from `optimizer_tensors`."""
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for name, tensor in tensors.items():
            if name.startswith(f"optim.{number}."):
                *_, index, key = name.split(".")
                like = parameters[int(index)]
                # Fused optimizers read parameter and state in the same memory order, so the layouts must agree.
                value = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
                state.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
