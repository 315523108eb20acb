"""Images in the forms that users have them, and the face crops that are cut out of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rcn_search.data.crops import Box, crop_photo, square_box
from rcn_search.data.importers.base import RowError
from rcn_search.data.importers.photo import open_photo
from rcn_search.errors import RcnSearchError

ImageLike = NDArray[np.uint8] | Image.Image | str | PathLike[str]
"""Pixels (h, w) or (h, w, 3) red, green, blue, uint8; a Pillow image; or the path of an image file."""

Boxes = NDArray[np.floating] | NDArray[np.integer] | Sequence[Sequence[float]]
"""(n, 4) x, y, width, height."""

_SINGLE = (np.ndarray, Image.Image, str, PathLike)
_DEEP_MODES = ("I", "F")
"""First letters of Pillow's modes with more than 8 bits, which a conversion to RGB would clip."""


def open_image(image: ImageLike) -> Image.Image:
    """Open an image as RGB.

    Raises:
        RcnSearchError: It cannot be read, or has more than 8 bits per channel or another number of channels.
    """
    if isinstance(image, str | PathLike):
        path = Path(image).resolve()
        try:
            return open_photo(path.parent, path.name)
        except RowError as error:
            raise RcnSearchError(f"{image}: {error}") from error
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or not image.size or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
            raise RcnSearchError(
                f"an image array has shape {image.shape} and type {image.dtype}; (h, w) or (h, w, 3) uint8 is needed"
            )
        image = Image.fromarray(image)
    if image.mode.startswith(_DEEP_MODES):
        raise RcnSearchError(f"an image of Pillow's mode {image.mode} has more than 8 bits per pixel; convert it first")
    return image if image.mode == "RGB" else image.convert("RGB")


def count_faces(images: ImageLike | Sequence[ImageLike], boxes: Boxes | None) -> int:
    """Return n, the number of faces that `crop_faces` yields.

    Raises:
        RcnSearchError: There is not one box for each image of a list.
    """
    if isinstance(images, _SINGLE):
        return 1 if boxes is None else len(boxes)
    if boxes is not None and len(boxes) != len(images):
        raise RcnSearchError(f"{len(images)} images and {len(boxes)} boxes: give one box for each image")
    return len(images)


def crop_faces(
    images: ImageLike | Sequence[ImageLike], boxes: Boxes | None, *, color: bool
) -> Iterator[tuple[NDArray[np.uint8], Box]]:
    """Cut out one face after the other, as importers do; one image is in memory at a time.

    Yields:
        The crop, (160, 160) or (160, 160, 3), and its box: ``boxes``, rounded to whole pixels and widened to a square.

    Raises:
        RcnSearchError: An image cannot be used, or a box is not finite or has no area.
    """
    if isinstance(images, _SINGLE):
        shared = open_image(images)
        opened: Iterator[Image.Image] = (shared for _ in range(count_faces(images, boxes)))
    else:
        opened = map(open_image, images)
    for number, image in enumerate(opened):
        wanted = (0, 0, *image.size) if boxes is None else boxes[number]
        if len(wanted) != 4 or not np.isfinite(wanted).all() or min(wanted[2:]) <= 0:
            raise RcnSearchError(f"box {number} is {tuple(wanted)}; x, y, width and height of an area are needed")
        box = square_box(*map(float, wanted))
        yield crop_photo(image, box, color=color), box
