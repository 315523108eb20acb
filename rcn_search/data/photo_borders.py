"""Where the photograph ends inside a padded crop, and which points were annotated at its edge (rcn.md 1.5).

Sides are always in the order left, top, right, bottom; point codes are 1 to 4 in that order, 0 for none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rcn_search.config.schema import IMAGE_SIZE_PX
from rcn_search.data.crops import Box

NEAR_START_PX = 10
"""A point with a smaller x (or y) is at the left (or top) edge."""
NEAR_END_PX = 3
"""A point at most this far from the width (or height) is at the right (or bottom) edge."""


def padding_px(box: Box, image_size: tuple[int, int]) -> NDArray[np.int64]:
    """Image pixels by which the box leaves the image on each side: (4,)."""
    width, height = image_size
    return np.maximum(0, [-box.x, -box.y, box.x + box.width - width, box.y + box.height - height])


def photo_rectangle(box: Box, image_size: tuple[int, int]) -> NDArray[np.float32]:
    """What of the crop shows the photograph: x, y, width, height in crop pixels; the rest is padding."""
    left, top, right, bottom = padding_px(box, image_size) * (IMAGE_SIZE_PX / box.width)
    return np.array([left, top, IMAGE_SIZE_PX - left - right, IMAGE_SIZE_PX - top - bottom], np.float32)


def edge_codes(
    points_k2: NDArray[np.float64], image_size: tuple[int, int], box: Box, face_box: Box
) -> NDArray[np.uint8]:
    """The code of each point: at which edge of the photograph it was annotated.

    Only where the crop is padded at all; and a side that the crop pads but the face box does not see padded does not
    count. The paper's code adds the codes of a corner (left and top read as right); here the first one stands.

    Args:
        points_k2: As published, one-based.
        image_size: Width and height of the photograph.
        box: The crop in the photograph.
        face_box: The face box in the crop.
    """
    padding = padding_px(box, image_size)
    if not padding.any():
        return np.zeros(len(points_k2), np.uint8)
    strip = np.round(padding / box.width * IMAGE_SIZE_PX)
    face_ends = face_box.x + face_box.width, face_box.y + face_box.height
    seen = np.array([face_box.x, face_box.y, IMAGE_SIZE_PX - face_ends[0], IMAGE_SIZE_PX - face_ends[1]]) < strip
    near_k4 = np.concatenate([points_k2 < NEAR_START_PX, np.array(image_size) - points_k2 <= NEAR_END_PX], axis=1)
    near_k4 &= seen | (padding == 0)
    return np.where(near_k4.any(axis=1), near_k4.argmax(axis=1) + 1, 0).astype(np.uint8)
