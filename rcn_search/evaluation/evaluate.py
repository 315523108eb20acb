"""Evaluate a predictor on a split: predict every image, write the prediction file, and score it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from rcn_search import storage
from rcn_search.data.dataset import Dataset
from rcn_search.evaluation.predict_split import predict_split
from rcn_search.evaluation.predictions import Predictions, encode_predictions
from rcn_search.evaluation.protocol import EvaluationProtocol
from rcn_search.evaluation.score import Score, protocols_for, score
from rcn_search.inference.config import DEFAULT_INFERENCE, InferenceConfig
from rcn_search.inference.predictor import Predictor
from rcn_search.inference.test_time_augmentation import NUM_VIEWS
from rcn_search.models.decode import default_decoder
from rcn_search.training.checkpoint import CheckpointInfo


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Predictions of a split and their scores.

    Attributes:
        predictions_uri: Prediction file; None if none was written.
        scores: Scores under each protocol that applies, ``rcn2016`` first.
        latency_ms: Median time of one face in the network, on the device of the predictor.
    """

    predictions: Predictions
    predictions_uri: str | None
    predictions_sha256: str
    scores: list[tuple[EvaluationProtocol, Score]]
    latency_ms: float


def evaluate(
    predictor: Predictor,
    dataset: Dataset,
    split_name: str,
    *,
    predictions_uri: str | None = None,
    method: str | None = None,
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Predict a split, write the prediction file if it has a URI, and score the predictions.

    An evaluation of a test split must be counted before: `rcn_search.leaderboard.submit.evaluate_and_record` does it.
    ``on_images`` is called with (images done, images in all).
    """
    method = method or predictor_method(predictor)
    predictions = predict_split(predictor, dataset, split_name, method=method, on_images=on_images)
    content = encode_predictions(predictions)
    if predictions_uri is not None:
        storage.write_bytes(predictions_uri, content)
    return Evaluation(
        predictions=predictions,
        predictions_uri=predictions_uri,
        predictions_sha256=hashlib.sha256(content).hexdigest(),
        scores=[(protocol, score(predictions, protocol)) for protocol in protocols_for(predictions)],
        latency_ms=predictor.latency_ms(),
    )


def predictor_method(predictor: Predictor) -> str:
    """Make a name for tables as `method_name` does, with the runtime of an exported network."""
    name = method_name(predictor.info, predictor.inference)
    return f"{name}, {predictor.runtime}" if predictor.runtime else name


def method_name(info: CheckpointInfo, inference: InferenceConfig = DEFAULT_INFERENCE) -> str:
    """Make a name for tables: model, size, augmentation, training set, recipe, epochs, decoder, test-time views."""
    config, model = info.config, info.config.model
    if model.name == "denoiser":
        parts = [f"denoiser {model.kernel_px}×{model.kernel_px}"]
    elif model.name == "tcdcn":
        parts = ["TCDCN with attributes" if model.auxiliary else "TCDCN"]
    elif model.name == "custom":
        parts = [" ".join([model.target, *(f"{name}={value}" for name, value in model.args.items())])]
    elif model.name == "timm":
        parts = [f"{model.backbone} {model.head}"]
        if model.head != "coordinates" and model.map_stride < model.feature_stride:
            parts[0] += f" × {model.deconv_channels} channels"
    else:
        parts = [f"{'RCN' if model.name == 'rcn' else 'SumNet'} {model.branches} branches"]
        if model.channels != "paper":
            parts[0] += f" × {model.channels} channels"
        if model.layer_preset != "mtfl":
            parts.append(f"{model.layer_preset} layers")
        if model.mask:
            parts.append(f"mask {model.mask}")
        if model.name == "rcn" and model.skip:
            parts.append("skip")
    if config.augment.occluder.max_px:
        parts.append("occlusion")
    if config.data.balance_by:
        parts.append(f"balanced by {config.data.balance_by}")
    if config.data.num_train is not None:
        parts.append(f"{config.data.num_train:,} faces")
    epochs = config.schedule.epochs
    parts += [f"{config.recipe} recipe", f"{epochs:,} epochs" if epochs != 1 else "1 epoch"]
    has_maps = model.name != "tcdcn" and not (model.name == "timm" and model.head == "coordinates")
    if has_maps and inference.decoder not in (None, default_decoder(config.loss.name)):
        parts.append(f"{inference.decoder} decoding")
    if inference.flip:
        parts.append("flip averaged")
    if inference.multiview:
        parts.append(f"{NUM_VIEWS} views")
    if inference.denoiser_uri:
        parts.append("denoised")
    return ", ".join(parts)
