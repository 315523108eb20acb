"""Predict the faces of an image without boxes: find them, frame their crops, and frame them again by their points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rcn_search.errors import RcnSearchError
from rcn_search.inference.detectors.detector import Detector
from rcn_search.inference.detectors.find_faces import find_faces, turn_image
from rcn_search.inference.faces import Faces, no_faces, turn_back
from rcn_search.inference.framing import Frame, frame_detection, frame_points, is_same_face

if TYPE_CHECKING:
    from rcn_search.inference.predictor import Predictor


def detect_and_predict(predictor: Predictor, image: Image.Image, detector: Detector, min_face_px: int) -> Faces:
    """Find the faces of an RGB image and predict their points; without a face, zero faces.

    Each face is predicted twice. The second crop is framed by the points of the first, as in training, because the box
    of a detector is less exact. A third time gains nothing.

    Raises:
        RcnSearchError: The detector does not know the box rule of the predicted points.
    """
    schema, crop_px = predictor.schema, predictor.info.crop_px
    if schema.box.rule not in detector.framings:
        raise RcnSearchError(
            f"the detector {detector.name!r} has no framing for the box rule {schema.box.rule!r} of the points "
            f"{schema.name!r}: give boxes, or another detector"
        )
    found = find_faces(image, detector, min_face_px)
    if not found.detections:
        return no_faces(schema.num_points)
    turned = turn_image(image, found.quarter_turns)
    frames = [frame_detection(face, detector, schema, turned.size, crop_px) for face in found.detections]
    first = predict_frames(predictor, turned, frames)
    faces = predict_frames(
        predictor,
        turned,
        [
            _frame_again(predictor, turned, points_k2, frame)
            for points_k2, frame in zip(first.points, frames, strict=True)
        ],
    )
    scores = np.array([face.score for face in found.detections], np.float32)
    return turn_back(faces._replace(scores=scores), found.quarter_turns, turned.size)


def predict_frames(predictor: Predictor, image: Image.Image, frames: Sequence[Frame]) -> Faces:
    """Predict the faces of one image whose crops are framed."""
    return predictor.predict(image, [frame.box for frame in frames], face_boxes=[frame.face_box for frame in frames])


def _frame_again(predictor: Predictor, image: Image.Image, points_k2: NDArray[np.float32], frame: Frame) -> Frame:
    """Frame a face by its points; as before if they are not those of a face."""
    try:
        again = frame_points(points_k2, predictor.schema, image.size, predictor.info.crop_px)
    except RcnSearchError:
        return frame
    return again if is_same_face(frame.box, again.box) else frame
