"""Start a training from the weights of another: which of them fit, and what a checkpoint says about where it began.

The network has to be the same. With the same points all weights are copied. With other points the head is new: all
tensors whose shape depends on the number of points. The rest is copied.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rcn_search import storage
from rcn_search.config.differences import differences
from rcn_search.config.network_target import allow_network
from rcn_search.config.schema import TrainConfig
from rcn_search.errors import list_first
from rcn_search.keypoints import KeypointSchema
from rcn_search.models import build_without_memory
from rcn_search.resources import packaged_weights
from rcn_search.training.checkpoint import Checkpoint, CheckpointError, StartRecord, network_tensors, read_checkpoint
from rcn_search.training.exit_status import BEST_NAME

_SUFFIX = ".safetensors"
Shapes = dict[str, tuple[int, ...]]


class StartWeights(NamedTuple):
    """Weights to copy into a new network, and the history of the checkpoints that come from it.

    ``tensors`` is empty for a run that is resumed. ``history`` begins with the weights that were read.
    """

    tensors: dict[str, Tensor]
    history: tuple[StartRecord, ...]

    @property
    def new_names(self) -> frozenset[str]:
        """Names of the tensors that were not copied."""
        return frozenset(self.history[0].new) if self.history else frozenset()

    def copy_into(self, network: nn.Module) -> None:
        """Copy the weights; the others keep their random values."""
        if self.tensors:
            network.load_state_dict(self.tensors, strict=False)

    def __str__(self) -> str:
        """Say what was copied, for the output of a command."""
        if not self.history:
            return ""
        first = self.history[0]
        where = f"starts from {first.weights}: {first.keypoints!r} points, weights {first.sha256[:12]}"
        if not first.new:
            return f"{where}; all tensors copied"
        return f"{where}; new: {list_first(first.new)}; the others copied"


NO_START = StartWeights({}, ())
"""Start with random weights."""


class _StoredWeights(NamedTuple):
    uri: str
    checkpoint: Checkpoint
    sha256: str


def weights_uri(name: str) -> str:
    """Find the checkpoint that ``init.weights`` means: packaged weights, the folder of a run, or a checkpoint."""
    if packaged := packaged_weights(name):
        return str(packaged)
    return name if name.endswith(_SUFFIX) else storage.join(name, BEST_NAME)


def with_weights_hash(config: TrainConfig) -> TrainConfig:
    """Fill in ``init.sha256``, so that a run is identified by the weights that it starts from.

    Raises:
        CheckpointError: The weights are missing or damaged, or have another hash than the one that is given.
    """
    if config.init is None:
        return config
    sha256 = _read(config).sha256
    return config.model_copy(update={"init": config.init.model_copy(update={"sha256": sha256})})


def read_start_weights(config: TrainConfig, schema: KeypointSchema) -> StartWeights:
    """Read the weights that a configuration starts from, and choose those that fit its network.

    Raises:
        CheckpointError: The weights are missing or damaged, are not those of ``init.sha256``, or of another network.
    """
    if config.init is None:
        return NO_START
    uri, checkpoint, sha256 = _read(config)
    info = checkpoint.info
    theirs: Shapes = {name: tuple(tensor.shape) for name, tensor in _weights(checkpoint).items()}
    _check_same_network(uri, info.config, config, theirs, info.keypoint_schema.num_points)
    same_points = (info.keypoint_schema.names, info.keypoint_schema.flip) == (schema.names, schema.flip)
    new = [] if same_points else _head(config, schema.num_points)
    tensors = {name.removeprefix("model."): t for name, t in _weights(checkpoint).items() if name not in new}
    record = StartRecord(
        weights=config.init.weights,
        sha256=sha256,
        run_id=info.config.run_id,
        keypoints=info.keypoints,
        schema_document=info.schema_document,
        data_fingerprint=info.data_fingerprint,
        data_license=info.data_license,
        new=tuple(name.removeprefix("model.") for name in new),
    )
    return StartWeights(tensors, (record, *info.start_history))


def _read(config: TrainConfig) -> _StoredWeights:
    assert config.init is not None
    allow_network(config.model)
    uri = weights_uri(config.init.weights)
    checkpoint = read_checkpoint(uri)
    sha256 = _hash(checkpoint)
    if config.init.sha256 not in (None, sha256):
        raise CheckpointError(
            f"{uri} holds other weights (sha256 {sha256[:12]}…) than those that this run starts from, init.sha256 = "
            f"{config.init.sha256[:12] if config.init.sha256 else ''}…; restore them, or start a new run"
        )
    return _StoredWeights(uri, checkpoint, sha256)


def _weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in checkpoint.tensors.items() if name.startswith("model.")}


def _hash(checkpoint: Checkpoint) -> str:
    """Hash the weights alone, which do not change when a checkpoint is calibrated, or one is the last of a run."""
    digest = hashlib.sha256()
    for name, tensor in sorted(_weights(checkpoint).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _shapes(config: TrainConfig, num_points: int) -> Shapes:
    network = build_without_memory(
        config.model, num_points=num_points, input_px=config.input.size_px, in_channels=config.input.channels
    )
    return {name: tuple(tensor.shape) for name, tensor in network_tensors(network).items()}


def _head(config: TrainConfig, num_points: int) -> list[str]:
    """Find the tensors of a network whose shape depends on the number of points."""
    ours, others = _shapes(config, num_points), _shapes(config, num_points + 1)
    return [name for name, shape in ours.items() if others.get(name) != shape]


def _check_same_network(
    uri: str, their_config: TrainConfig, config: TrainConfig, theirs: Shapes, num_points: int
) -> None:
    ours = _shapes(config, num_points)
    if ours == theirs:
        return
    name = next(name for name in sorted(ours | theirs) if ours.get(name) != theirs.get(name))
    changes = list(differences(_network(their_config), _network(config)))
    what = f"; what differs: {list_first(changes)}" if changes else ""
    raise CheckpointError(
        f"{uri} is of another network: {name.removeprefix('model.')} has shape {theirs.get(name, 'none')} there and "
        f"{ours.get(name, 'none')} here{what}. Give the section model of those weights, or train from scratch"
    )


def _network(config: TrainConfig) -> dict[str, Any]:
    return {"model": config.model.model_dump(mode="json"), "input": config.input.model_dump(mode="json")}
