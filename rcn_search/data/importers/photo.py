"""Open the photographs of a published folder and crop faces from them; every problem is a `RowError`."""

from __future__ import annotations

import warnings
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rcn_search.config.schema import IMAGE_SIZE_PX
from rcn_search.data.crops import STAGE_A_RATIO, STAGE_B_RATIO, crop_photo, four_point_box, image_to_crop
from rcn_search.data.importers.base import RowError
from rcn_search.data.sample import Sample

MAX_IMAGE_PIXELS = 64_000_000
_FORMATS = ("JPEG", "PNG", "BMP", "PPM", "WEBP")
"""Formats that data sets use. Without this list Pillow would open others, and for EPS even run Ghostscript."""

# `MAX_IMAGE_PIXELS` is below the limit at which Pillow warns. Not set in `open_photo`, because threads share filters.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def open_photo(source: Path, name: str) -> Image.Image:
    """Open and decode the photograph ``source/name`` as RGB; ``name`` has slashes.

    Raises:
        RowError: The file is missing, outside ``source``, not an image, damaged, or larger than `MAX_IMAGE_PIXELS`.
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
    except Exception as error:  # undocumented: which errors paths and decoders raise
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
    """Crop a face that has the points of the schema ``five``, by `four_point_box`; the crop is never padded."""
    try:
        box = four_point_box(points_k2, image.size, STAGE_A_RATIO)
        crop_points_k2 = image_to_crop(points_k2, box)
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
    """Check that the points belong to the image. Single points may lie outside it, but not their center."""
    x, y = points_k2.mean(axis=0)
    if not (0 <= x <= image.width and 0 <= y <= image.height):
        raise RowError(f"the face's center ({x:g}, {y:g}) lies outside its {image.width}x{image.height} image")
