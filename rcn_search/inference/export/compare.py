"""Compare an exported graph with PyTorch on faces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rcn_search.data.dataset import Dataset
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.errors import RcnSearchError
from rcn_search.inference.export.runtimes import Session
from rcn_search.inference.predictor import Predictor

NUM_FACES = 200
MAX_DIFFERENCE_PX = 0.01
"""Largest accepted distance between the points of both, in crop pixels."""
_BATCH_SIZE = 64


class Comparison(NamedTuple):
    """Differences of an exported graph from PyTorch on the same faces.

    Attributes:
        num_faces: Number of faces.
        max_difference_px: Largest distance of a point, in crop pixels.
        max_confidence_difference: Largest difference of a confidence.
        num_cells: Number of points whose predicted cell differs.
        faces: What the faces are.
    """

    num_faces: int
    max_difference_px: float
    max_confidence_difference: float
    num_cells: int
    faces: str


class FaceBatch(NamedTuple):
    """Crops uint8 and the part of each that the network sees."""

    crop_b: Tensor
    face_box_b4: Tensor


def comparison_faces(predictor: Predictor, dataset: Dataset | None) -> tuple[str, FaceBatch]:
    """Take the first validation faces of a data set, or draw faces; also return what they are.

    Raises:
        RcnSearchError: Faces with these keypoints are not drawn, or the data set has other ones.
    """
    if dataset is None:
        return f"{NUM_FACES} drawn faces", _drawn_faces(predictor)
    split_name = "val" if "val" in dataset.manifest.splits else next(iter(dataset.manifest.splits))
    split = dataset.split(split_name)
    if dataset.manifest.keypoint_schema.names != predictor.schema.names:
        raise RcnSearchError(
            f"{dataset.uri} has the points {dataset.manifest.keypoints!r}, the network those of "
            f"{predictor.schema.name!r}: give its own data set, or none"
        )
    rows = torch.arange(min(NUM_FACES, split.num_rows))
    return f"{len(rows)} faces of {split_name}", FaceBatch(split.images_at(rows), split.face_box_n4[rows])


def _drawn_faces(predictor: Predictor) -> FaceBatch:
    info = predictor.info
    if info.keypoints not in ("five", "ibug68") or info.crop_px != 160:
        raise RcnSearchError(f"faces with {info.keypoints!r} points are not drawn: give --data to compare with")
    importer = SyntheticImporter(schema=info.keypoints, num_train=NUM_FACES, num_val=1, num_test=1, seed=1)
    samples = [importer.read_sample(row) for row in importer.read_rows()["train"]]
    crops = np.stack([sample.image for sample in samples])
    if info.config.input.color:
        crops = np.repeat(crops[..., None], 3, axis=3)
    return FaceBatch(torch.from_numpy(crops), torch.from_numpy(np.stack([sample.face_box for sample in samples])))


def compare(predictor: Predictor, session: Session, faces: FaceBatch, description: str) -> Comparison:
    """Predict the faces with both; the first also alone, because the number of faces in a batch may vary.

    Raises:
        RcnSearchError: The exported graph does not run, or the points of a face are not numbers.
    """
    points, confidences, num_cells = [0.0], [0.0], 0
    for batch in _batches(faces):
        expected = predictor.predict_crops(*(tensor.to(predictor.inference.device) for tensor in batch))
        try:
            actual = session.run(batch.crop_b.numpy(), batch.face_box_b4.numpy())
        except Exception as error:  # the errors of the runtimes have no common base
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise RcnSearchError(f"{session.name} cannot run the exported network: {reason}") from error
        distance_bk = np.linalg.norm(actual.points_bk2 - expected.points_bk2.cpu().numpy(), axis=2)
        if not np.isfinite(distance_bk).all():
            raise RcnSearchError("points that are predicted for the faces are not numbers")
        points.append(float(distance_bk.max()))
        confidences.append(float(np.abs(actual.confidence_bk - expected.confidence_bk.cpu().numpy()).max()))
        if len(batch.crop_b) > 1:
            num_cells += int((actual.cells_bk2 != expected.cells_bk2.cpu().numpy()).any(axis=2).sum())
    return Comparison(len(faces.crop_b), max(points), max(confidences), num_cells, description)


def _batches(faces: FaceBatch) -> Iterator[FaceBatch]:
    yield FaceBatch(faces.crop_b[:1], faces.face_box_b4[:1])
    for start in range(0, len(faces.crop_b), _BATCH_SIZE):
        yield FaceBatch(faces.crop_b[start : start + _BATCH_SIZE], faces.face_box_b4[start : start + _BATCH_SIZE])
