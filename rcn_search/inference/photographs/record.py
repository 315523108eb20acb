"""What is recorded of one photograph: its faces, or why it could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict

from rcn_search.errors import RcnSearchError
from rcn_search.inference.detectors.detector import Detector
from rcn_search.inference.faces import Faces
from rcn_search.inference.images import open_image
from rcn_search.inference.photographs.boxes import BoxTuple
from rcn_search.inference.photographs.listing import Photo
from rcn_search.inference.predictor import Predictor


class FaceRecord(BaseModel):
    """A predicted face. Points, radius and box are in pixels of the upright photograph; pixel i covers [i, i + 1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    box: tuple[float, float, float, float]  # x, y, width, height of the crop
    score: float | None  # of the detector; None where the box was given
    points: list[tuple[float, float]]
    confidence: list[float]
    radius: list[float] | None  # None if the model is not calibrated
    quarter_turns: int = 0  # counterclockwise, of the photograph for the crop


class PhotoRecord(BaseModel):
    """A photograph: its faces, none of them if it shows none, or the reason why it could not be read."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    image: str
    width: int = 0
    height: int = 0
    faces: list[FaceRecord] = []
    error: str | None = None


class Selection(BaseModel):
    """Which predicted faces of a photograph are kept."""

    model_config = ConfigDict(frozen=True)
    faces: Literal["all", "largest"] = "all"
    min_confidence: float = 0.0


def predict_photo(
    predictor: Predictor,
    photo: Photo,
    *,
    boxes: list[BoxTuple] | None,
    detector: str | Detector,
    min_face_px: int,
    selection: Selection,
) -> tuple[PhotoRecord, Image.Image | None]:
    """Predict the faces of a photograph; also return the photograph, upright, if it could be read."""
    try:
        image = open_image(photo.name)
        faces = predictor.predict(image, boxes, detector=detector, min_face_px=min_face_px)
    except RcnSearchError as error:
        reason = str(error).removeprefix(f"{Path(photo.name)}: ")
        return PhotoRecord(image=photo.name, error=reason), None
    records = [_face_record(faces, row) for row in select_faces(faces, selection)]
    return PhotoRecord(image=photo.name, width=image.width, height=image.height, faces=records), image


def select_faces(faces: Faces, selection: Selection) -> list[int]:
    """Choose the rows of the faces that are kept."""
    rows = [row for row, sure in enumerate(faces.confidence.mean(1)) if sure >= selection.min_confidence]
    if selection.faces == "largest":
        rows = sorted(rows, key=lambda row: -faces.boxes[row, 2])[:1]
    return rows


def _face_record(faces: Faces, row: int) -> FaceRecord:
    radius = faces.radius[row]
    score = float(faces.scores[row])
    return FaceRecord(
        box=tuple(_numbers(faces.boxes[row])),
        score=None if np.isnan(score) else score,
        points=[(x, y) for x, y in zip(*(_numbers(axis) for axis in faces.points[row].T), strict=True)],
        confidence=_numbers(faces.confidence[row]),
        radius=None if np.isnan(radius).any() else _numbers(radius),
        quarter_turns=int(faces.quarter_turns[row]),
    )


def _numbers(values: NDArray[np.float32]) -> list[float]:
    """Shortest decimal numbers that are these float32 values."""
    return [float(str(value)) for value in values]


def photo_record_json(record: PhotoRecord) -> str:
    """Write a record as one line of JSON, without what is not known."""
    return record.model_dump_json(exclude_defaults=True)


def parse_photo_record(line: str) -> PhotoRecord:
    """Read what `photo_record_json` wrote."""
    return PhotoRecord.model_validate_json(line)


def describe_run(predictor: Predictor, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what identifies a model and its options, by which a later run may resume this one."""
    info = predictor.info
    model = {"run_id": info.config.run_id, "epoch": info.epoch, "keypoints": info.keypoints}
    return {**model, **predictor.record, **options}
