"""Crop faces by their ground-truth points, and convert points between image pixels and crop pixels.

Cropping has two stages: a stored crop, of 160 pixels by default, and within it the face box, which is what the network
sees (docs/explanation/model-specification.md, "Data and crops").

Shape letters: n images, k points.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rcn_search.config.schema import IMAGE_SIZE_PX
from rcn_search.errors import RcnSearchError
from rcn_search.keypoint_schemas.schema import KeypointSchema

STAGE_A_RATIO = 1.25
"""Margin of the stored crop around eyes and mouth corners, as a multiple of the eye or eye-mouth distance."""
STAGE_B_RATIO = 0.95
"""Margin of the face box around eyes and mouth corners, as a multiple of the eye or eye-mouth distance."""
STAGE_A_68_RATIO = 1.7
"""Side of the stored crop around 68 points, as a multiple of the square that encloses them; padded black."""
STAGE_B_68_RATIO = 1.3  # side of the face box around 68 points, as a multiple of the square that encloses them


class Box(NamedTuple):
    """A square of whole pixels: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int


def four_point_box(points_k2: NDArray[np.floating], image_size: tuple[int, int], ratio: float) -> Box:
    """Find the square around eyes and mouth corners, shifted and shrunk to fit the image.

    The points are those of the schema ``five``; the nose is not used. The margin is ``ratio`` times the larger of eye
    distance and eye-mouth distance.

    Raises:
        RcnSearchError: No square of at least one pixel fits.
    """
    eyes, mouth = points_k2[[0, 1]].astype(np.float64), points_k2[[3, 4]].astype(np.float64)
    eye_distance, mouth_distance = math.dist(*eyes), math.dist(eyes.mean(0), mouth.mean(0))
    corners = np.concatenate([eyes, mouth])
    start = [math.trunc(v) for v in corners.min(0)]
    end = [math.trunc(v) for v in corners.max(0)]
    _make_square(start, end)
    margin = math.trunc(max(eye_distance, mouth_distance) * ratio)
    excess = [0, 0]
    for axis in (0, 1):
        start[axis] -= margin
        end[axis] += margin
        start[axis], end[axis], excess[axis] = _fit(start[axis], end[axis], image_size[axis])
    common = min(excess)
    for axis in (0, 1):
        rest, other = excess[axis] - common, 1 - axis
        start[other] += math.ceil(rest / 2)
        end[other] -= rest // 2
    width, height = end[0] - start[0], end[1] - start[1]
    if width < 1 or height < 1:
        raise RcnSearchError(f"the four points leave no square box inside the {image_size[0]}x{image_size[1]} image")
    assert width == height, (start, end)
    return Box(start[0], start[1], width, height)


def _make_square(start: list[int], end: list[int]) -> None:
    """Grow the shorter side in place; an odd pixel goes to its start."""
    gap = (end[0] - start[0]) - (end[1] - start[1])
    short = 1 if gap > 0 else 0
    start[short] -= math.ceil(abs(gap) / 2)
    end[short] += abs(gap) // 2


def _fit(start: int, end: int, size: int) -> tuple[int, int, int]:
    """Shift [start, end) into [0, size), and return it with the number of pixels that had to be cut."""
    if start < 0:
        start, end = 0, end - start
    over = end - size
    if over <= 0:
        return start, end, 0
    return (start - over, size, 0) if start >= over else (0, size, over - start)


def enclosing_box(points_k2: NDArray[np.floating], ratio: float) -> Box:
    """Find the square around all points, its side multiplied by ``ratio``; it may leave the image."""
    start = [math.floor(v) for v in points_k2.min(0)]
    end = [math.ceil(v) for v in points_k2.max(0)]
    _make_square(start, end)
    margin = (ratio - 1) / 2 * (end[0] - start[0])
    start = [math.floor(v - margin) for v in start]
    end = [math.ceil(v + margin) for v in end]
    return Box(start[0], start[1], end[0] - start[0], end[1] - start[1])


def square_box(x: float, y: float, width: float, height: float) -> Box:
    """Round a box to whole pixels and widen its shorter side; a square of whole pixels stays as it is."""
    start, end = [round(x), round(y)], [round(x + width), round(y + height)]
    _make_square(start, end)
    return Box(start[0], start[1], end[0] - start[0], end[1] - start[1])


def centered_face_box(schema: KeypointSchema, crop_px: int = IMAGE_SIZE_PX) -> NDArray[np.float32]:
    """Guess the face box of a crop without true points: (4,) x, y, width, height in crop pixels.

    It lies in the middle and is about as wide as imported face boxes are on average.
    """
    box = schema.box
    if box.rule == "four_points":
        side_px = (1 + 2 * box.input_ratio) / (1 + 2 * box.crop_ratio) * crop_px
    else:
        side_px = box.input_ratio / box.crop_ratio * crop_px
    margin_px = (crop_px - side_px) / 2
    return np.array([margin_px, margin_px, side_px, side_px], np.float32)


def crop_photo(image: Image.Image, box: Box, *, color: bool = False, crop_px: int = IMAGE_SIZE_PX) -> NDArray[np.uint8]:
    """Cut out the box, black outside of the RGB image, and resize it to crop_px x crop_px by Lanczos resampling.

    Returns (crop_px, crop_px, 3) with ``color``, else (crop_px, crop_px) gray, converted after resizing.
    """
    corners = (box.x, box.y, box.x + box.width, box.y + box.height)
    resized = image.crop(corners).resize((crop_px, crop_px), Image.Resampling.LANCZOS)
    return np.asarray(resized if color else resized.convert("L"))


def image_to_crop(points_k2: NDArray[np.floating], box: Box, crop_px: int = IMAGE_SIZE_PX) -> NDArray[np.float32]:
    """Convert the points (k, 2) of one face from image pixels to pixels of its crop."""
    offset, side = np.array([box.x, box.y]), np.array([box.width, box.height])
    scaled: NDArray[np.float64] = (points_k2 - offset) * (crop_px / side)
    return scaled.astype(np.float32)


def crop_to_image(
    points_nk2: NDArray[np.float32], box_n4: NDArray[np.float32], crop_px: int = IMAGE_SIZE_PX
) -> NDArray[np.float32]:
    """Convert points of many faces from crop to image pixels; a box is x, y, width, height of a crop in its image."""
    return (points_nk2 * (box_n4[:, None, 2:] / crop_px) + box_n4[:, None, :2]).astype(np.float32)
