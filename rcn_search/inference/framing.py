"""Frame the crop of a face by a detector's box or by predicted points, as importers frame it by true points."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rcn_search.data.crops import Box, enclosing_box, four_point_box, image_to_crop, square_box
from rcn_search.inference.detectors.detector import Detection, Detector
from rcn_search.keypoint_schemas.document import FOUR_POINTS
from rcn_search.keypoint_schemas.schema import KeypointSchema


class Frame(NamedTuple):
    """The crop of a face.

    Attributes:
        box: Crop in its image.
        face_box: x, y, width, height of the part that the network sees, in pixels of the crop.
    """

    box: Box
    face_box: tuple[float, float, float, float]


def frame_detection(
    face: Detection, detector: Detector, schema: KeypointSchema, image_size: tuple[int, int], crop_px: int
) -> Frame:
    """Frame the face that a detector found, by the `Framing` of its boxes."""
    rule = schema.box
    framing = detector.framings[rule.rule]
    x = face.x + face.width * (0.5 + framing.shift_x)
    y = face.y + face.height * (0.5 + framing.shift_y)
    side = framing.side * face.width
    moves = rule.rule == "four_points"  # crops of this rule stay inside the image
    crop_side, input_side = (
        side * (1 + 2 * ratio if moves else ratio) for ratio in (rule.crop_ratio, rule.input_ratio)
    )
    left, top, crop_side = _square(x, y, crop_side, image_size if moves else None)
    box = square_box(left, top, crop_side, crop_side)
    scale = crop_px / box.width
    left, top, input_side = _square(
        (x - box.x) * scale, (y - box.y) * scale, input_side * scale, (crop_px, crop_px) if moves else None
    )
    return Frame(box, (left, top, input_side, input_side))


def _square(x: float, y: float, side: float, size: tuple[int, int] | None) -> tuple[float, float, float]:
    """Find the left, top and side of the square around a point, moved and shrunk to fit an area of that size."""
    left, top = x - side / 2, y - side / 2
    if size is None:
        return left, top, side
    side = min(side, *size)
    return min(max(left, 0.0), size[0] - side), min(max(top, 0.0), size[1] - side), side


def frame_points(
    points_k2: NDArray[np.floating], schema: KeypointSchema, image_size: tuple[int, int], crop_px: int
) -> Frame:
    """Frame a face by its points in image pixels, exactly as the importers of its schema's box rule do.

    Raises:
        RcnSearchError: The points leave no square of at least one pixel.
    """
    rule = schema.box
    if rule.rule == "enclosing":
        box = enclosing_box(points_k2, rule.crop_ratio)
        face_box = enclosing_box(image_to_crop(points_k2, box, crop_px), rule.input_ratio)
    else:
        left_eye, right_eye, left_mouth, right_mouth = (schema.names.index(name) for name in FOUR_POINTS)
        order = [left_eye, right_eye, left_eye, left_mouth, right_mouth]  # in the order of the schema ``five``
        box = four_point_box(points_k2[order], image_size, rule.crop_ratio)
        crop_points_k2 = image_to_crop(points_k2[order], box, crop_px)
        face_box = four_point_box(crop_points_k2, (crop_px, crop_px), rule.input_ratio)
    x, y, width, height = map(float, face_box)
    return Frame(box, (x, y, width, height))


def is_same_face(before: Box, after: Box) -> bool:
    """Whether a crop that was framed anew still shows the face: neither far from the one before, nor of another size.

    Points that were predicted on no face lie anywhere.
    """
    if after.width < 1 or not 0.5 < after.width / before.width < 2:
        return False
    centers = [(box.x + box.width / 2, box.y + box.height / 2) for box in (before, after)]
    return math.dist(*centers) < before.width / 2
