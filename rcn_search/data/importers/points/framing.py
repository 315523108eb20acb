"""Cut an annotated face out of its image by the box rule of its schema, or by a box of the annotation.

With a box, the network sees the square around it, and the stored crop is larger by the ratio of the schema's rule.
Shape letters: k points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rcn_search.data.crops import Box, crop_photo, enclosing_box, four_point_box, image_to_crop, square_box
from rcn_search.data.importers.base import RowError
from rcn_search.data.importers.photo import MAX_IMAGE_PIXELS, require_inside
from rcn_search.data.photo_borders import photo_rectangle
from rcn_search.data.sample import Sample
from rcn_search.errors import RcnSearchError
from rcn_search.keypoint_schemas.document import FOUR_POINTS
from rcn_search.keypoints import KeypointSchema

MIN_PHOTO_SHARE = 0.1
"""Smallest part of a crop that may show the photograph; with less, the points belong to another photograph."""


def crop_face(
    image: Image.Image,
    points_k2: NDArray[np.float64],
    box: tuple[float, float, float, float] | None,
    schema: KeypointSchema,
    *,
    image_id: str,
    group: str,
    crop_px: int,
    color: bool,
) -> Sample:
    """Crop a face; points that are not labeled are NaN.

    Raises:
        RowError: The points or the box do not frame a part of the image.
    """
    labeled_k: NDArray[np.bool_] = np.asarray(np.isfinite(points_k2).all(axis=1))
    require_inside(points_k2[labeled_k], image)
    crop_box, face_box = (
        _boxes_of_points(points_k2, labeled_k, image.size, schema, crop_px)
        if box is None
        else _boxes_of_box(box, schema, crop_px)
    )
    photo = photo_rectangle(crop_box, image.size, crop_px)
    if min(photo[2:]) <= 0 or photo[2] * photo[3] < MIN_PHOTO_SHARE * crop_px**2:
        raise RowError(f"the face lies outside its {image.width}x{image.height} image")
    return Sample(
        image=crop_photo(image, crop_box, color=color, crop_px=crop_px),
        points=image_to_crop(points_k2, crop_box, crop_px),
        visible=labeled_k,
        box=np.array(crop_box, np.float32),
        face_box=face_box,
        image_id=image_id,
        group=group,
        photo=photo,
    )


def _boxes_of_points(
    points_k2: NDArray[np.float64],
    labeled_k: NDArray[np.bool_],
    image_size: tuple[int, int],
    schema: KeypointSchema,
    crop_px: int,
) -> tuple[Box, NDArray[np.float32]]:
    rule = schema.box
    try:
        if rule.rule == "four_points":
            left_eye, right_eye, left_mouth, right_mouth = (schema.names.index(name) for name in FOUR_POINTS)
            order = [left_eye, right_eye, left_eye, left_mouth, right_mouth]  # the third, a nose, is not used
            if not labeled_k[order].all():
                raise RowError("eyes and mouth corners frame the crop, and one of them is not labeled")
            crop_box = four_point_box(points_k2[order], image_size, rule.crop_ratio)
            in_crop_k2 = image_to_crop(points_k2[order], crop_box, crop_px)
            return crop_box, np.array(four_point_box(in_crop_k2, (crop_px, crop_px), rule.input_ratio), np.float32)
    except RowError:
        raise
    except RcnSearchError as error:
        raise RowError(str(error)) from error
    if (np.ptp(points_k2[labeled_k], axis=0) < 1).all():
        raise RowError(f"{int(labeled_k.sum())} labeled points span no box: label more points, or give boxes")
    crop_box = _require_small(enclosing_box(points_k2[labeled_k], rule.crop_ratio))
    in_crop_k2 = image_to_crop(points_k2[labeled_k], crop_box, crop_px)
    return crop_box, np.array(enclosing_box(in_crop_k2, rule.input_ratio), np.float32)


def _boxes_of_box(
    box: tuple[float, float, float, float], schema: KeypointSchema, crop_px: int
) -> tuple[Box, NDArray[np.float32]]:
    x, y, width, height = box
    side, rule = max(width, height), schema.box
    inner = x + (width - side) / 2, y + (height - side) / 2
    ratio = rule.crop_ratio / rule.input_ratio
    if rule.rule == "four_points":  # ratios of margins on both sides
        ratio = (1 + 2 * rule.crop_ratio) / (1 + 2 * rule.input_ratio)
    margin = (ratio - 1) / 2 * side
    crop_box = _require_small(square_box(inner[0] - margin, inner[1] - margin, side * ratio, side * ratio))
    scale = crop_px / crop_box.width
    face_box = [(inner[0] - crop_box.x) * scale, (inner[1] - crop_box.y) * scale, side * scale, side * scale]
    return crop_box, np.array(face_box, np.float32)


def _require_small(box: Box) -> Box:
    if box.width < 1 or box.width * box.height > MAX_IMAGE_PIXELS:
        raise RowError(f"the face spans a box of {box.width:,}x{box.height:,} pixels")
    return box
