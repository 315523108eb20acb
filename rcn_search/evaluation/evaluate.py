"""A checkpoint against a split: the prediction file, and its scores under both protocols."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rcn_search.data.dataset import open_dataset
from rcn_search.evaluation.metrics import Score, score
from rcn_search.evaluation.predict import predict
from rcn_search.evaluation.predictions import Predictions, write_predictions
from rcn_search.evaluation.protocol import Protocol, rcn2016, subpixel
from rcn_search.models.cost import count_parameters, multiply_adds
from rcn_search.models.decode import Decode
from rcn_search.training.checkpoint import CheckpointInfo, load_network


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        info: Of the checkpoint.
        predictions: Per image.
        predictions_uri: Where they were written.
        predictions_sha256: Of that file.
        scores: Every protocol the predictions can be measured by, ``rcn2016`` first.
        num_params: Of the network.
        multiply_adds: Of the network, for one image.
    """

    info: CheckpointInfo
    predictions: Predictions
    predictions_uri: str
    predictions_sha256: str
    scores: list[tuple[Protocol, Score]]
    num_params: int
    multiply_adds: int


def evaluate(
    checkpoint_uri: str,
    data_uri: str,
    split_name: str,
    *,
    predictions_uri: str,
    method: str | None = None,
    decode: Decode = "peak",
    device: str = "cpu",
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Predict a split and score it.

    Args:
        checkpoint_uri: A ``best.safetensors`` or ``last.safetensors``.
        data_uri: The data set.
        split_name: Which images.
        predictions_uri: Where the prediction file goes.
        method: What tables call it; by default a name made from the configuration.
        decode: How a map becomes a cell.
        device: Where to run.
        on_images: Called with (images done, images in all).

    Raises:
        CheckpointError: The checkpoint is missing, damaged or of another model.
        DatasetError: The data set is.
        ValueError: The two do not fit together.
    """
    network, info = load_network(checkpoint_uri)
    dataset = open_dataset(data_uri)
    num_params = count_parameters(network)
    cost = multiply_adds(network, info.config.input.size_px)
    predictions = predict(
        network,
        info,
        dataset,
        split_name,
        method=method or describe(info, decode),
        decode=decode,
        device=device,
        on_images=on_images,
    )
    sha256 = write_predictions(predictions, predictions_uri)
    names = (*dataset.manifest.subset_of(split_name), dataset.manifest.keypoints)
    protocols = [subpixel(*names)]
    if rcn2016(*names).grid_px == info.config.input.size_px:
        protocols.insert(0, rcn2016(*names))
    return Evaluation(
        info=info,
        predictions=predictions,
        predictions_uri=predictions_uri,
        predictions_sha256=sha256,
        scores=[(protocol, score(predictions, protocol)) for protocol in protocols],
        num_params=num_params,
        multiply_adds=cost,
    )


def describe(info: CheckpointInfo, decode: Decode = "peak") -> str:
    """A method name for tables: model, size, augmentation, recipe, length and decoding."""
    config = info.config
    model = config.model
    if model.kind == "tcdcn":
        name = "TCDCN with attributes" if model.auxiliary else "TCDCN"
    else:
        name = f"{model.kind.upper() if model.kind == 'rcn' else 'SumNet'} {model.branches} branches"
        if model.channels != "paper":
            name += f" × {model.channels} channels"
    if model.kind == "rcn" and model.skip:
        name += ", skip"
    if config.augment.occluder.max_px:
        name += ", occlusion"
    name += f", {config.recipe} recipe, {config.schedule.epochs} epochs"
    return name if decode == "peak" or model.kind == "tcdcn" else f"{name}, {decode} decoding"
