"""Images in the forms that users have them, and the face crops that are cut out of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from rcn_search.config.schema import IMAGE_SIZE_PX
from rcn_search.data.crops import Box, crop_photo, square_box
from rcn_search.data.importers.base import RowError
from rcn_search.data.importers.photo import MAX_IMAGE_PIXELS, open_photo, to_rgb
from rcn_search.errors import RcnSearchError

if TYPE_CHECKING:
    from typing_extensions import TypeIs

ImageLike = NDArray[np.uint8] | Image.Image | str | PathLike[str]
"""Pixels (h, w) or (h, w, 3) red, green, blue, uint8; a Pillow image; or the path of an image file."""

Boxes = NDArray[np.floating] | NDArray[np.integer] | Sequence[Sequence[float]]
"""(n, 4) x, y, width, height."""

_SINGLE = (np.ndarray, Image.Image, str, PathLike)


def open_image(image: ImageLike) -> Image.Image:
    """Open an image as RGB; a file is turned as its EXIF orientation says, as every viewer shows it.

    Raises:
        RcnSearchError: It cannot be read, or has more than 16 bits per channel or another number of channels.
    """
    if isinstance(image, str | PathLike):
        path = Path(image).resolve()
        try:
            return turn_upright(open_photo(path.parent, path.name))
        except RowError as error:
            raise RcnSearchError(f"{image}: {error}") from error
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or not image.size or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
            raise RcnSearchError(
                f"an image array has shape {image.shape} and type {image.dtype}; (h, w) or (h, w, 3) uint8 is needed"
            )
        image = Image.fromarray(image)
    if not min(image.size):
        raise RcnSearchError(f"an image of {image.width}x{image.height} pixels shows nothing")
    return to_rgb(image)


def turn_upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says; a damaged EXIF block is ignored, as viewers do."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # undocumented: which errors the parser raises
        return image


def is_single(images: ImageLike | Sequence[ImageLike]) -> TypeIs[ImageLike]:
    """Whether these are not several images but one."""
    return isinstance(images, _SINGLE)


def count_faces(images: ImageLike | Sequence[ImageLike], boxes: Boxes | None) -> int:
    """Return n, the number of faces that `crop_faces` yields.

    Raises:
        RcnSearchError: There is not one box for each image of a list.
    """
    if is_single(images):
        return 1 if boxes is None else len(boxes)
    if boxes is not None and len(boxes) != len(images):
        raise RcnSearchError(f"{len(images)} images and {len(boxes)} boxes: give one box for each image")
    return len(images)


def crop_faces(
    images: ImageLike | Sequence[ImageLike], boxes: Boxes | None, *, color: bool, crop_px: int = IMAGE_SIZE_PX
) -> Iterator[tuple[NDArray[np.uint8], Box]]:
    """Cut out one face after the other, as importers do; one image is in memory at a time.

    Yields:
        The crop, (crop_px, crop_px) or (crop_px, crop_px, 3), and its box: ``boxes``, rounded to whole pixels and
        widened to a square.

    Raises:
        RcnSearchError: An image cannot be used, or a box is not finite, has no area, is far too large or lies outside.
    """
    if is_single(images):
        shared = open_image(images)
        opened: Iterator[Image.Image] = (shared for _ in range(count_faces(images, boxes)))
    else:
        opened = map(open_image, images)
    for number, image in enumerate(opened):
        box = check_box(number, (0, 0, *image.size) if boxes is None else boxes[number], image.size)
        yield crop_photo(image, box, color=color, crop_px=crop_px), box


def check_box(
    number: int, wanted: NDArray[np.floating] | NDArray[np.integer] | Sequence[float], image_size: tuple[int, int]
) -> Box:
    """Round a box to whole pixels and widen it to a square; ``number`` is its name in messages.

    Raises:
        RcnSearchError: It is not finite, has no area, is far too large, or lies outside of the image.
    """
    values = tuple(float(value) for value in wanted)
    if len(values) != 4 or not np.isfinite(values).all() or min(values[2:]) <= 0:
        raise RcnSearchError(f"box {number} is {values}; x, y, width and height of an area are needed")
    box, (width, height) = square_box(*values), image_size
    if box.width * box.height > MAX_IMAGE_PIXELS:
        raise RcnSearchError(f"box {number} is {values}, which is over the limit of {MAX_IMAGE_PIXELS:,} pixels")
    if box.x >= width or box.y >= height or box.x + box.width <= 0 or box.y + box.height <= 0:
        raise RcnSearchError(f"box {number} is {values}, which lies outside of the {width}x{height} image")
    return box
