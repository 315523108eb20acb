"""Predict every image of a split, in all coordinates that a protocol may ask for.

Shape letters: n images of the split, b of a batch, k points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rcn_search.data.crops import crop_to_image
from rcn_search.data.dataset import Dataset, Split
from rcn_search.data.shards import Manifest
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.predictions import Predictions
from rcn_search.inference.predictor import Predictor
from rcn_search.keypoint_schemas.document import abbreviate, schema_document
from rcn_search.training.checkpoint import CheckpointInfo
from rcn_search.training.validation import BATCH_SIZE


def predict_split(
    predictor: Predictor,
    dataset: Dataset,
    split_name: str,
    *,
    method: str,
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> Predictions:
    """Predict every image of a split, without augmentation, in fp32; ``on_images`` takes (images done, in all)."""
    check_keypoints(predictor.info, dataset.manifest, dataset.uri)
    split = dataset.split(split_name, predictor.inference.device)
    batches = []
    for rows in torch.arange(split.num_rows, device=predictor.inference.device).split(BATCH_SIZE):
        batches.append(predictor.predict_crops(split.images_at(rows), split.face_box_n4[rows]))
        on_images(int(rows[-1]) + 1, split.num_rows)
    pred_crop_nk2 = _to_numpy([batch.points_bk2 for batch in batches])
    truth = ground_truth_fields(split, dataset.manifest)
    confidence_nk = _to_numpy([batch.confidence_bk for batch in batches])
    table = predictor.radius_table
    return Predictions(
        **truth,
        pred_crop_nk2=pred_crop_nk2,
        pred_image_nk2=crop_to_image(pred_crop_nk2, split.box_n4, dataset.manifest.crop_px),
        pred_cell_nk2=_to_numpy([batch.cells_bk2 for batch in batches]).astype(np.int16),
        confidence_nk=confidence_nk,
        radius_nk=predictor.radii_px(confidence_nk, truth["face_box"], truth["box"]) if table else None,
        meta=split_metadata(dataset.manifest, split_name)
        | {
            "grid_px": predictor.info.config.input.size_px,
            "run_id": predictor.info.config.run_id,
            "method": method,
            "config": predictor.info.config.model_dump(mode="json"),
            "epoch": predictor.info.epoch,
        }
        | predictor.record
        | ({"calibration": {"fingerprint": table.data_fingerprint, "split": table.split}} if table else {}),
    )


def check_keypoints(info: CheckpointInfo, manifest: Manifest, data_uri: str) -> None:
    """Raise `RcnSearchError` if a checkpoint predicts other keypoints than a data set has."""
    ours, theirs = info.keypoint_schema, manifest.keypoint_schema
    if ours.name != theirs.name:
        raise RcnSearchError(f"the checkpoint predicts {ours.name!r} points, {data_uri} has {theirs.name!r} points")
    if (ours.names, ours.flip) != (theirs.names, theirs.flip):
        raise RcnSearchError(
            f"the checkpoint and {data_uri} have different points that are both called {ours.name!r}: "
            f"{abbreviate(ours.names)}; {abbreviate(theirs.names)}"
        )


def ground_truth_fields(split: Split, manifest: Manifest) -> dict[str, Any]:
    """Return the fields of `Predictions` that come from the data set; only bordered crops are padded."""
    true_crop_nk2, bordered = _to_numpy([split.points_nk2]), manifest.bordered
    return {
        "image_id": split.image_id_n,
        "group": split.group_n,
        "box": split.box_n4,
        "face_box": _to_numpy([split.face_box_n4]),
        "visible": _to_numpy([split.visible_nk]),
        "true_crop_nk2": true_crop_nk2,
        "true_image_nk2": crop_to_image(true_crop_nk2, split.box_n4, manifest.crop_px),
        "edge_nk": _to_numpy([split.edge_nk]) if bordered else None,
        "photo_n4": _to_numpy([split.photo_n4]) if bordered else None,
        "attributes": {name: _to_numpy([classes]).astype(np.int8) for name, classes in split.attributes.items()},
    }


def split_metadata(manifest: Manifest, split_name: str) -> dict[str, Any]:
    """Return the metadata of `Predictions` that comes from the data set."""
    dataset_name, subset = manifest.dataset_and_subset(split_name)
    return {
        "dataset": dataset_name,
        "subset": subset,
        "split": split_name,
        "fingerprint": manifest.fingerprint,
        "keypoints": manifest.keypoints,
        "schema_document": schema_document(manifest.keypoint_schema),
    }


def _to_numpy(parts: list[Tensor]) -> NDArray[Any]:
    return np.asarray(torch.cat(parts).cpu())
