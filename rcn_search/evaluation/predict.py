"""A network over a split: per-image predictions in every frame that a protocol may ask for.

Shape letters: n images of the split, b of a batch, k points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rcn_search.config.schema import Decoder
from rcn_search.data.augment import NO_AUGMENTATION, augment_face_boxes, network_inputs, random_draws, unwarp_points
from rcn_search.data.crops import crop_to_image
from rcn_search.data.dataset import Dataset
from rcn_search.data.shards import Manifest
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.test_time_augmentation import mean_of_views, views_of
from rcn_search.models.blocks import Network
from rcn_search.models.decode import predicted_cells, predicted_points
from rcn_search.training.checkpoint import CheckpointInfo
from rcn_search.training.validation import BATCH_SIZE


@torch.inference_mode()
def predict(
    network: Network,
    info: CheckpointInfo,
    dataset: Dataset,
    split_name: str,
    *,
    method: str,
    decoder: Decoder = "argmax",
    multiview: bool = False,
    made_of: Mapping[str, Any] = MappingProxyType({}),
    device: str = "cpu",
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> Predictions:
    """Predict every image of a split, without jitter or occluder, in fp32.

    Args:
        network: Of the checkpoint, or made of it and others.
        info: Of the checkpoint.
        dataset: Must have the checkpoint's keypoints.
        split_name: Which images.
        method: What tables call the predictions.
        decoder: How a map becomes a cell.
        multiview: Average over the windows of `views_of`.
        made_of: What else the network is made of, for the file.
        device: Where to run.
        on_images: Called with (images done, images in all).

    Raises:
        ValueError: The data set has other keypoints than the checkpoint.
        DatasetError: No such split, or a damaged shard.
    """
    manifest = dataset.manifest
    check_keypoints(info, manifest, dataset.uri)
    split = dataset.split(split_name, device)
    size_px = info.config.input.size_px
    draws = random_draws(split.num_rows, seed=0, epoch=0).to(device)
    network, bordered = network.place(device, torch.channels_last).eval(), manifest.bordered
    cells, crop_points, confidence = [], [], []
    for rows in torch.arange(split.num_rows, device=device).split(BATCH_SIZE):
        image, frame = split.images_at(rows), augment_face_boxes(split.face_box_n4[rows], draws[rows], NO_AUGMENTATION)
        frames = views_of(frame) if multiview else [frame]
        outputs = [
            network(network_inputs(image, each, info.config.input).contiguous(memory_format=torch.channels_last))
            for each in frames
        ]
        output = mean_of_views(outputs, frames)
        cells_bk2 = predicted_cells(output, size_px, decoder)
        points_bk2, confidence_bk = predicted_points(output, cells_bk2, decoder)
        cells.append(cells_bk2)
        crop_points.append(unwarp_points(points_bk2, frame))
        confidence.append(confidence_bk)
        on_images(int(rows[-1]) + 1, split.num_rows)

    true_crop_nk2, pred_crop_nk2 = _numpy([split.points_nk2]), _numpy(crop_points)
    dataset_name, subset = manifest.dataset_and_subset(split_name)
    return Predictions(
        image_id=split.image_id_n,
        group=split.group_n,
        box=split.box_n4,
        face_box=_numpy([split.face_box_n4]),
        visible=_numpy([split.visible_nk]),
        true_crop_nk2=true_crop_nk2,
        pred_crop_nk2=pred_crop_nk2,
        true_image_nk2=crop_to_image(true_crop_nk2, split.box_n4),
        pred_image_nk2=crop_to_image(pred_crop_nk2, split.box_n4),
        pred_cell_nk2=_numpy(cells).astype(np.int16),
        confidence_nk=_numpy(confidence),
        edge_nk=_numpy([split.edge_nk]) if bordered else None,
        photo_n4=_numpy([split.photo_n4]) if bordered else None,
        attributes={name: _numpy([value]).astype(np.int8) for name, value in split.attributes.items()},
        meta={
            "dataset": dataset_name,
            "subset": subset,
            "split": split_name,
            "fingerprint": manifest.fingerprint,
            "keypoints": manifest.keypoints,
            "grid_px": size_px,
            "run_id": info.config.run_id,
            "method": method,
            "decoder": decoder,
            "config": info.config.model_dump(mode="json"),
            "epoch": info.epoch,
            **made_of,
        },
    )


def check_keypoints(info: CheckpointInfo, manifest: Manifest, data_uri: str) -> None:
    """Make sure that a checkpoint's points are those of a data set.

    Raises:
        ValueError: They are not.
    """
    if manifest.keypoints != info.keypoints:
        raise ValueError(
            f"the checkpoint predicts {info.keypoints!r} points, {data_uri} has {manifest.keypoints!r} points"
        )


def _numpy(parts: list[Tensor]) -> NDArray[Any]:
    joined: NDArray[Any] = torch.cat(parts).cpu().numpy()
    return joined
