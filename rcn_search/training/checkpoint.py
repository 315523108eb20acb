"""Read and write checkpoints: one safetensors object whose header holds JSON. Nothing is ever unpickled.

``best.safetensors`` holds the weights of a network and the configuration to rebuild it. ``last.safetensors`` holds
everything from which a run is resumed with bit-identical results.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Self

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn

from rcn_search import storage
from rcn_search.config.errors import summarize
from rcn_search.config.frozen_model import FrozenModel
from rcn_search.config.legacy import upgrade_config
from rcn_search.config.network_target import TargetError
from rcn_search.config.schema import IMAGE_SIZE_PX, TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.keypoints import KeypointSchema, resolve_schema
from rcn_search.models import build_model, build_without_memory
from rcn_search.models.blocks import Network
from rcn_search.training.radius_table import RadiusTable
from rcn_search.training.safetensors_header import MAX_HEADER_BYTES, Header, TensorSpec, read_header

SCHEMA_VERSION = 2
_HEADER_KEY = "rcn_search"
_MAX_COPIES = 8
"""Weights, moments of optimizers and moving averages that a run may hold for each weight of its network."""


class CheckpointError(RcnSearchError):
    """A checkpoint is missing, damaged, or belongs to another model; the message names it."""


class StartRecord(FrozenModel):
    """Weights that a training started from."""

    weights: str  # name, path or URI, as the configuration had it
    sha256: str = Field(max_length=64)
    run_id: str = Field(max_length=40)
    keypoints: str  # name of their keypoint schema
    schema_document: dict[str, Any] | None  # that schema, whole
    data_fingerprint: str
    data_license: str  # license of the data that they were trained on; empty if it is not known
    new: tuple[str, ...]  # tensors that were not copied, because the points are others


class CheckpointInfo(BaseModel):
    """Metadata of a checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    schema_version: int = SCHEMA_VERSION
    kind: Literal["weights", "run"]  # ``weights`` (best.safetensors) or ``run`` (last.safetensors)
    config: TrainConfig
    keypoints: str  # name of the keypoint schema
    schema_document: dict[str, Any] | None = None  # the schema, whole; older checkpoints only name a built-in one
    crop_px: int = IMAGE_SIZE_PX  # side of the stored crops that the network was trained on
    data_fingerprint: str
    data_license: str = ""  # of the data set; empty in older checkpoints
    start_history: tuple[StartRecord, ...] = ()  # weights that the run started from, and those that these started from
    epoch: int = Field(ge=0)  # number of epochs that the run has trained
    val_error_pct: float | None = Field(ge=0, allow_inf_nan=False)  # validation error of that epoch
    train_s: float = Field(ge=0, allow_inf_nan=False)  # time spent on training and validation so far
    state: dict[str, Any] = {}  # state of a run to resume (kind ``run``)
    radius_tables: tuple[RadiusTable, ...] = ()  # one for each way of predicting that was calibrated

    @model_validator(mode="after")
    def _check_radius_tables(self) -> Self:
        for table in self.radius_tables:
            if len(table.points) != self.keypoint_schema.num_points:
                raise ValueError(f"a radius table of {len(table.points)} points; the schema has another number")
        return self

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
    """Read and check a checkpoint. Its tensors are read only if they are those of its configuration.

    Raises:
        CheckpointError: The file is missing, damaged, not written by rcn-search, of an unknown schema version, or its
            tensors are not those of its configuration, or not finite.
    """
    try:
        header = read_header(uri)
    except (FileNotFoundError, IsADirectoryError):
        raise CheckpointError(f"no checkpoint at {uri}") from None
    except RcnSearchError as error:
        raise CheckpointError(f"{uri} is not a readable safetensors file: {error}") from None
    text = header.metadata.get(_HEADER_KEY)
    if text is None:
        raise CheckpointError(f"{uri} was not written by rcn-search: its header has no configuration")
    try:
        info = _read_info(uri, text)
        expected = _network_tensors_of(info)
    except ValidationError as error:
        raise CheckpointError(f"{uri}: this rcn-search cannot read its configuration: {summarize(error)}") from None
    except TargetError as error:
        raise CheckpointError(f"{uri}: {error}") from None
    except RcnSearchError as error:
        raise CheckpointError(f"{uri}: this rcn-search cannot read its configuration: {error}") from None
    _check_tensors(uri, info, header, expected)
    content = storage.read_range(uri, 0, header.num_bytes + 1)
    if len(content) != header.num_bytes:
        what = "more" if len(content) > header.num_bytes else "fewer"
        raise CheckpointError(
            f"{uri} is not a readable safetensors file: it has {what} than the {header.num_bytes:,} bytes that its "
            "header names"
        )
    try:
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(f"{uri} is not a readable safetensors file: {error}") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{uri} is damaged: {name} holds values that are not finite")
    return Checkpoint(info, tensors)


def _network_tensors_of(info: CheckpointInfo) -> dict[str, TensorSpec]:
    """Find the weights of a configuration's network without memory for them."""
    network = build_without_memory(
        info.config.model,
        num_points=info.keypoint_schema.num_points,
        input_px=info.config.input.size_px,
        in_channels=info.config.input.channels,
    )
    return {name: TensorSpec(tensor.dtype, tuple(tensor.shape)) for name, tensor in network_tensors(network).items()}


def _check_tensors(uri: str, info: CheckpointInfo, header: Header, expected: dict[str, TensorSpec]) -> None:
    actual = header.tensors
    if info.kind == "run":  # which has the state of optimizers, too
        actual = {name: spec for name, spec in actual.items() if name.startswith("model.")}
    if actual != expected:
        name = next(name for name in sorted(actual | expected) if actual.get(name) != expected.get(name))
        found, needed, short = actual.get(name), expected.get(name), name.removeprefix("model.")[:80]
        if found and needed and found.shape == needed.shape:
            raise CheckpointError(f"{uri} is damaged: {short} is of type {found.dtype}, not {needed.dtype}")
        raise CheckpointError(
            f"{uri} holds the weights of another model: {short} has shape {found.shape if found else 'none'}; its "
            f"configuration needs {needed.shape if needed else 'none'}"
        )
    network_bytes = sum(math.prod(spec.shape) * spec.dtype.itemsize for spec in expected.values())
    if header.num_bytes > _MAX_COPIES * network_bytes + MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{uri} has {header.num_bytes:,} bytes; a run of this network has at most {_MAX_COPIES} times its weights, "
            f"of {network_bytes:,} bytes"
        )


def _read_info(uri: str, text: str) -> CheckpointInfo:
    document = storage.decode_json(uri, text.encode())
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version not in (1, SCHEMA_VERSION):  # checked first, because anything may differ in another version
        raise RcnSearchError(f"it is of version {version}; this rcn-search reads versions 1 and {SCHEMA_VERSION}")
    if version == 1 and isinstance(document.get("config"), dict):
        document |= {"schema_version": SCHEMA_VERSION, "config": upgrade_config(document["config"])}
    return CheckpointInfo.model_validate(document)


def with_config(uri: str, content: bytes, config: TrainConfig) -> bytes:
    """Replace the configuration in the checkpoint that was read from ``uri``; the tensors are kept byte for byte."""
    return _with_info(uri, content, lambda info: info.model_copy(update={"config": config}))[0]


def with_radius_table(uri: str, content: bytes, table: RadiusTable) -> tuple[bytes, CheckpointInfo]:
    """Add a radius table to the checkpoint that was read from ``uri``, in place of one for the same predictions.

    Returns the new content, whose tensors are the same byte for byte, and the header of the old one.
    """

    def change(info: CheckpointInfo) -> CheckpointInfo:
        others = [other for other in info.radius_tables if other.made_with != table.made_with]
        return info.model_copy(update={"radius_tables": (*others, table)})

    return _with_info(uri, content, change)


def _with_info(
    uri: str, content: bytes, change: Callable[[CheckpointInfo], CheckpointInfo]
) -> tuple[bytes, CheckpointInfo]:
    header_size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + header_size])
    info = _read_info(uri, header["__metadata__"][_HEADER_KEY])
    header["__metadata__"][_HEADER_KEY] = change(info).model_dump_json()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + content[8 + header_size :], info


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


def load_optimizers(optimizers: Sequence[torch.optim.Optimizer], tensors: dict[str, Tensor], uri: str) -> None:
    """Restore the state of optimizers from `optimizer_tensors`; ``uri`` is the checkpoint that held them.

    Raises:
        CheckpointError: They are those of other optimizers.
    """
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    parameters = [[each for group in optimizer.param_groups for each in group["params"]] for optimizer in optimizers]
    for name, tensor in tensors.items():
        if not name.startswith("optim."):
            continue
        try:
            number, index, key = name.removeprefix("optim.").split(".")
            like = parameters[int(number)][int(index)]
        except (ValueError, IndexError):
            raise CheckpointError(f"{uri} is damaged: there is no place for {name[:80]!r}") from None
        if tensor.shape == like.shape:
            # Fused optimizers read parameter and state in the same memory order, so the layouts must agree.
            tensor = torch.empty_like(like).copy_(tensor)
        elif tensor.numel() != 1:
            raise CheckpointError(f"{uri} is damaged: {name} has shape {tuple(tensor.shape)}, not {tuple(like.shape)}")
        states[int(number)].setdefault(int(index), {})[key] = tensor
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
