"""The boxes of the paper's two-stage cropping (rcn.md 1.4), from ground-truth points, and the crop itself."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rcn_search.config.schema import IMAGE_SIZE_PX

STAGE_A_RATIO = 1.25
"""Margin of the stored crop around eyes and mouth corners, in eye or eye-mouth distances."""
STAGE_B_RATIO = 0.95
"""The same for the face box inside the crop, which is what the network sees."""
STAGE_A_68_RATIO = 1.7
"""Side of the stored crop around 68 points, in sides of the square that holds them; padded black."""
STAGE_B_68_RATIO = 1.3
"""Side of the face box inside the crop around 68 points, in sides of the square that holds them."""


class Box(NamedTuple):
    """A square of whole pixels: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int


def four_point_box(points_k2: NDArray[np.floating], image_size: tuple[int, int], ratio: float) -> Box:
    """The square around eyes and mouth corners (rcn.md 1.4, "4-point rule"), shifted and shrunk to fit the image.

    Args:
        points_k2: Five points in the order of the schema ``five``; the nose is not used.
        image_size: Width and height in pixels.
        ratio: Margin in units of the larger of eye distance and eye-mouth distance.

    Raises:
        ValueError: No square of at least one pixel is left.
    """
    eyes, mouth = points_k2[[0, 1]].astype(np.float64), points_k2[[3, 4]].astype(np.float64)
    eye_distance = math.dist(*eyes)
    mouth_distance = math.dist(eyes.mean(0), mouth.mean(0))
    four = np.concatenate([eyes, mouth])
    start = [math.trunc(v) for v in four.min(0)]
    end = [math.trunc(v) for v in four.max(0)]

    _make_square(start, end)

    margin = math.trunc(max(eye_distance, mouth_distance) * ratio)
    excess = [0, 0]
    for axis in (0, 1):
        start[axis] -= margin
        end[axis] += margin
        start[axis], end[axis], excess[axis] = _fit(start[axis], end[axis], image_size[axis])
    common = min(excess)
    for axis in (0, 1):
        rest = excess[axis] - common
        other = 1 - axis
        start[other] += math.ceil(rest / 2)
        end[other] -= rest // 2
    width, height = end[0] - start[0], end[1] - start[1]
    if width < 1 or height < 1:
        raise ValueError(f"the four points leave no square box inside the {image_size[0]}x{image_size[1]} image")
    assert width == height, (start, end)
    return Box(start[0], start[1], width, height)


def _make_square(start: list[int], end: list[int]) -> None:
    """Grow the shorter side in place, an odd pixel at its start."""
    gap = (end[0] - start[0]) - (end[1] - start[1])
    short = 1 if gap > 0 else 0
    start[short] -= math.ceil(abs(gap) / 2)
    end[short] += abs(gap) // 2


def _fit(start: int, end: int, size: int) -> tuple[int, int, int]:
    """Shift [start, end) into [0, size); what cannot fit is cut and returned as excess."""
    if start < 0:
        start, end = 0, end - start
    over = end - size
    if over <= 0:
        return start, end, 0
    if start >= over:
        return start - over, size, 0
    return 0, size, over - start


def enclosing_box(points_k2: NDArray[np.floating], ratio: float) -> Box:
    """The square around all points, enlarged (rcn.md 1.4, "68-point rule"); it may leave the image."""
    start = [math.floor(v) for v in points_k2.min(0)]
    end = [math.ceil(v) for v in points_k2.max(0)]
    _make_square(start, end)
    margin = (ratio - 1) / 2 * (end[0] - start[0])
    start = [math.floor(v - margin) for v in start]
    end = [math.ceil(v + margin) for v in end]
    return Box(start[0], start[1], end[0] - start[0], end[1] - start[1])


def crop_photo(image: Image.Image, box: Box, *, colour: bool = False) -> NDArray[np.uint8]:
    """The box at 160x160: Lanczos with antialiasing on the colour image, then rounded grey (rcn.md 2.1).

    Args:
        image: RGB.
        box: May leave the image; what is outside is black before anything is resized.
        colour: Keep red, green and blue: (160, 160, 3).
    """
    size = (IMAGE_SIZE_PX, IMAGE_SIZE_PX)
    corners = (box.x, box.y, box.x + box.width, box.y + box.height)
    resized = image.crop(corners).resize(size, Image.Resampling.LANCZOS)
    return np.asarray(resized if colour else resized.convert("L"))


def to_crop(points_k2: NDArray[np.floating], box: Box) -> NDArray[np.float32]:
    """Image pixels to crop pixels."""
    offset, side = np.array([box.x, box.y]), np.array([box.width, box.height])
    scaled: NDArray[np.float64] = (points_k2 - offset) * (IMAGE_SIZE_PX / side)
    return scaled.astype(np.float32)
