"""A checkpoint against a split: the prediction file, and its scores under both protocols."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rcn_search.data.dataset import open_dataset
from rcn_search.evaluation.latency import latency_ms
from rcn_search.evaluation.predict import predict
from rcn_search.evaluation.predictions import Predictions, write_predictions
from rcn_search.evaluation.protocol import Protocol, named_protocol, rcn2016, subpixel
from rcn_search.evaluation.score import Score, score
from rcn_search.evaluation.test_time_augmentation import NUM_VIEWS
from rcn_search.inference.config import DEFAULT_INFERENCE, InferenceConfig
from rcn_search.keypoints import keypoint_schema
from rcn_search.models.complexity import count_parameters, multiply_adds
from rcn_search.models.decode import default_decoder
from rcn_search.models.denoiser import Denoiser
from rcn_search.models.flip_average import Mirrored
from rcn_search.models.joint import Joint
from rcn_search.models.tcdcn import TCDCN
from rcn_search.training.checkpoint import CheckpointInfo, load_network
from rcn_search.training.compute_probe import usable_device


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
        latency_ms: Of one face through the network, on the device.
    """

    info: CheckpointInfo
    predictions: Predictions
    predictions_uri: str
    predictions_sha256: str
    scores: list[tuple[Protocol, Score]]
    num_params: int
    multiply_adds: int
    latency_ms: float


def evaluate(
    checkpoint_uri: str,
    data_uri: str,
    split_name: str,
    *,
    predictions_uri: str,
    method: str | None = None,
    inference: InferenceConfig = DEFAULT_INFERENCE,
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Predict a split and score it.

    Args:
        checkpoint_uri: A ``best.safetensors`` or ``last.safetensors``.
        data_uri: The data set.
        split_name: Which images.
        predictions_uri: Where the prediction file goes.
        method: What tables call it; by default a name made from the configuration.
        inference: Decoder, test-time augmentation, denoiser and device.
        on_images: Called with (images done, images in all).

    Raises:
        CheckpointError: The checkpoint is missing, damaged or of another model.
        DatasetError: The data set is.
        ValueError: The two do not fit together.
    """
    network, info = load_network(checkpoint_uri)
    if isinstance(network, Denoiser):
        raise ValueError(f"{checkpoint_uri} is a denoiser, which sees no image: give it beside a network (--denoiser)")
    dataset = open_dataset(data_uri)
    decoder = inference.decoder or default_decoder(info.config.loss.name)
    device = str(usable_device(inference.device))
    made_of: dict[str, Any] = inference.model_copy(update={"decoder": decoder}).record()
    if inference.denoiser_uri:
        if isinstance(network, TCDCN):
            raise ValueError(f"{checkpoint_uri} predicts no maps, so there is nothing to add a denoiser's to")
        denoiser, its = _denoiser(inference.denoiser_uri, info)
        network = Joint(network, denoiser)
        made_of["denoiser"] = its.config.run_id
    if inference.flip:
        network = Mirrored(network, keypoint_schema(info.keypoints).flip)
    predictions = predict(
        network,
        info,
        dataset,
        split_name,
        method=method or describe(info, inference),
        decoder=decoder,
        multiview=inference.multiview,
        made_of=made_of,
        device=device,
        on_images=on_images,
    )
    num_params = count_parameters(network)
    cost = multiply_adds(network, info.config.input.size_px) * (NUM_VIEWS if inference.multiview else 1)
    sha256 = write_predictions(predictions, predictions_uri)
    names = (*dataset.manifest.dataset_and_subset(split_name), dataset.manifest.keypoints)
    protocols = [subpixel(*names)]
    if rcn2016(*names).grid_px == info.config.input.size_px:
        protocols.insert(0, rcn2016(*names))
        if names[2] == "ibug68":
            protocols.insert(1, named_protocol("rcn2016-49", *names[:2], "ibug49"))
    return Evaluation(
        info=info,
        predictions=predictions,
        predictions_uri=predictions_uri,
        predictions_sha256=sha256,
        scores=[(protocol, score(predictions, protocol)) for protocol in protocols],
        num_params=num_params,
        multiply_adds=cost,
        latency_ms=latency_ms(network, info.config.input, device) * (NUM_VIEWS if inference.multiview else 1),
    )


def _denoiser(uri: str, info: CheckpointInfo) -> tuple[Denoiser, CheckpointInfo]:
    denoiser, its = load_network(uri)
    if not isinstance(denoiser, Denoiser):
        raise ValueError(f"{uri} is no denoiser but a {its.config.model.name}")
    if its.keypoints != info.keypoints:
        raise ValueError(f"{uri} is a denoiser of {its.keypoints!r} points; the network predicts {info.keypoints!r}")
    return denoiser, its


def describe(info: CheckpointInfo, inference: InferenceConfig = DEFAULT_INFERENCE) -> str:
    """Make a method name for tables: model, size, augmentation, recipe, epochs, decoder, test-time augmentation."""
    config, model = info.config, info.config.model
    if model.name == "denoiser":
        parts = [f"denoiser {model.kernel_px}×{model.kernel_px}"]
    elif model.name == "tcdcn":
        parts = ["TCDCN with attributes" if model.auxiliary else "TCDCN"]
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
    parts += [f"{config.recipe} recipe", f"{config.schedule.epochs} epochs"]
    if inference.decoder not in (None, default_decoder(config.loss.name)) and model.name != "tcdcn":
        parts.append(f"{inference.decoder} decoding")
    if inference.flip:
        parts.append("flip averaged")
    if inference.multiview:
        parts.append(f"{NUM_VIEWS} views")
    if inference.denoiser_uri:
        parts.append("denoised")
    return ", ".join(parts)
