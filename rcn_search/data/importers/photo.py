"""Photographs of a published folder, and the faces cut out of them; whatever is wrong with one is a `RowError`."""

from __future__ import annotations

import warnings
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rcn_search.config.schema import IMAGE_SIZE_PX
from rcn_search.data.crops import STAGE_A_RATIO, STAGE_B_RATIO, crop_photo, four_point_box, to_crop
from rcn_search.data.importers.base import RowError
from rcn_search.data.sample import Sample

MAX_IMAGE_PIXELS = 64_000_000
_FORMATS = ("JPEG", "PNG", "BMP", "PPM", "WEBP")
"""What data sets have. Pillow would open any other under these names, too, EPS by running Ghostscript."""

# Where Pillow warns, our lower limit refuses. Not in `open_photo`: threads share the filters.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def open_photo(source: Path, name: str) -> Image.Image:
    """The photograph ``name``, a path relative to ``source`` with slashes, decoded, as RGB.

    Raises:
        RowError: It is missing, outside ``source``, not an image, damaged, or larger than `MAX_IMAGE_PIXELS`.
    """
    relative = PurePosixPath(name)
    path = source / relative
    try:
        if relative.is_absolute() or ".." in relative.parts or not path.resolve().is_relative_to(source.resolve()):
            raise RowError("the image path leaves the source folder")
        image = Image.open(path, formats=_FORMATS)  # reads the header only
        if image.width * image.height > MAX_IMAGE_PIXELS:
            raise RowError(f"image of {image.width}x{image.height} pixels is over the limit of {MAX_IMAGE_PIXELS:,}")
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")
    except (RowError, MemoryError):
        raise
    except FileNotFoundError:
        raise RowError("image is missing") from None
    except Image.DecompressionBombError as error:
        raise RowError(f"image is over the pixel limit: {error}") from error
    except Exception as error:  # what paths and decoders raise is not written down anywhere
        raise RowError(f"image cannot be read: {error}") from error


def five_point_sample(
    image: Image.Image,
    points_k2: NDArray[np.float64],
    *,
    image_id: str,
    group: str,
    attributes: dict[str, int] | None = None,
    color: bool = False,
) -> Sample:
    """A face with the points of the schema ``five``, cropped by the 4-point rule (rcn.md 1.4), never padded.

    Args:
        image: RGB.
        points_k2: In image pixels.
        image_id: Name of the face within its source.
        group: Its photo.
        attributes: Of the face.
        colour: Keep red, green and blue.

    Raises:
        RowError: No box is left inside the image.
    """
    try:
        box = four_point_box(points_k2, image.size, STAGE_A_RATIO)
        crop_points_k2 = to_crop(points_k2, box)
        face_box = four_point_box(crop_points_k2, (IMAGE_SIZE_PX, IMAGE_SIZE_PX), STAGE_B_RATIO)
    except ValueError as error:
        raise RowError(str(error)) from error
    return Sample(
        image=crop_photo(image, box, color=color),
        points=crop_points_k2,
        visible=np.ones(len(points_k2), bool),
        box=np.array(box, np.float32),
        face_box=np.array(face_box, np.float32),
        image_id=image_id,
        group=group,
        attributes=attributes or {},
    )


def require_inside(points_k2: NDArray[np.float64], image: Image.Image) -> None:
    """A single point may lie beyond the edge of a photograph, a face may not.

    Raises:
        RowError: The middle of the points is outside the image: they belong to another one.
    """
    x, y = points_k2.mean(axis=0)
    if not (0 <= x <= image.width and 0 <= y <= image.height):
        raise RowError(f"the face's centre ({x:g}, {y:g}) lies outside its {image.width}x{image.height} image")
