"""Find where the photograph ends inside a padded crop, and which points were annotated at its edge.

Sides are in the order left, top, right, bottom; point codes are 1 to 4 in that order, 0 for none. The rules are those
of docs/explanation/model-specification.md, "Data and crops".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rcn_search.config.schema import IMAGE_SIZE_PX
from rcn_search.data.crops import Box

NEAR_START_PX = 10  # a point with a smaller x (or y) is at the left (or top) edge
NEAR_END_PX = 3  # a point at most this far from the width (or height) is at the right (or bottom) edge


def padding_px(box: Box, image_size: tuple[int, int]) -> NDArray[np.int64]:
    """Number of image pixels by which the box leaves the image on each side: (4,)."""
    width, height = image_size
    return np.maximum(0, [-box.x, -box.y, box.x + box.width - width, box.y + box.height - height])


def photo_rectangle(box: Box, image_size: tuple[int, int], crop_px: int = IMAGE_SIZE_PX) -> NDArray[np.float32]:
    """Find the part of the crop that shows the photograph: (4,) x, y, width, height in crop pixels."""
    left, top, right, bottom = padding_px(box, image_size) * (crop_px / box.width)
    return np.array([left, top, crop_px - left - right, crop_px - top - bottom], np.float32)


def edge_codes(
    points_k2: NDArray[np.float64], image_size: tuple[int, int], box: Box, face_box: Box
) -> NDArray[np.uint8]:
    """Find the edge of the photograph at which each published point was annotated: codes (k,), 0 for most points.

    All codes are 0 if the crop is not padded. A side that is padded in the crop, but not within the face box, does not
    count. At a corner the first code is used, whereas the paper's code adds both (so left and top become right).
    """
    padding = padding_px(box, image_size)
    if not padding.any():
        return np.zeros(len(points_k2), np.uint8)
    strip = np.round(padding / box.width * IMAGE_SIZE_PX)
    face_ends = face_box.x + face_box.width, face_box.y + face_box.height
    visible = np.array([face_box.x, face_box.y, IMAGE_SIZE_PX - face_ends[0], IMAGE_SIZE_PX - face_ends[1]]) < strip
    near_k4 = np.concatenate([points_k2 < NEAR_START_PX, np.array(image_size) - points_k2 <= NEAR_END_PX], axis=1)
    near_k4 &= visible | (padding == 0)
    return np.where(near_k4.any(axis=1), near_k4.argmax(axis=1) + 1, 0).astype(np.uint8)
