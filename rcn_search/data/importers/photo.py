"""Open the photographs of a published folder and crop faces from them; every problem is a `RowError`."""

from __future__ import annotations

import warnings
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import BinaryIO

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

    Links are followed, because DVC and git-annex store photographs as links; only ``name`` must stay inside.

    Raises:
        RowError: The file is missing, not an image, damaged, of 32 bits per pixel, or larger than `MAX_IMAGE_PIXELS`;
            or ``name`` leaves ``source``.
    """
    relative = PurePosixPath(name)
    path = source / relative
    try:
        if relative.is_absolute() or ".." in relative.parts:
            raise RowError("the image path leaves the source folder")
        if not S_ISREG(path.stat().st_mode):  # opening a FIFO would wait
            raise RowError("image is not a file")
    except RowError:
        raise
    except FileNotFoundError:
        raise RowError("image is missing") from None
    except (OSError, ValueError) as error:  # a name that no file can have
        raise RowError(f"image cannot be read: {error}") from error
    return decode_photo(path)


def decode_photo(file: Path | BinaryIO) -> Image.Image:
    """Decode a photograph as RGB.

    Raises:
        RowError: It is not an image, damaged, of 32 bits per pixel, or larger than `MAX_IMAGE_PIXELS`.
    """
    try:
        image = Image.open(file, formats=_FORMATS)  # reads the header only
        if image.width * image.height > MAX_IMAGE_PIXELS:
            raise RowError(f"image of {image.width}x{image.height} pixels is over the limit of {MAX_IMAGE_PIXELS:,}")
        image.load()
        return to_rgb(image)
    except (RowError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise RowError(f"image is over the pixel limit: {error}") from error
    except Exception as error:  # undocumented: which errors paths and decoders raise
        raise RowError(f"image cannot be read: {error}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to RGB; of 16 bits gray the upper 8 are kept, where Pillow's conversion would clip.

    Raises:
        RowError: It has 32 bits per pixel, of which nobody knows the range.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # decoded to 0..65535
        upper = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        upper.info = image.info
        image = upper
    if image.mode in ("I", "F"):
        raise RowError(f"image has 32 bits per pixel (Pillow's mode {image.mode}); convert it to 8 bits")
    return image if image.mode == "RGB" else image.convert("RGB")


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
    require_extent(points_k2)
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


def require_extent(points_k2: NDArray[np.float64]) -> None:
    """Check that the points are not all in one place, where no face is.

    Raises:
        RowError: They span less than one pixel of the photograph.
    """
    width, height = np.ptp(points_k2, axis=0).tolist()
    if max(width, height) < 1:
        raise RowError(f"the points span only {width:.2g}x{height:.2g} pixels")


def require_inside(points_k2: NDArray[np.float64], image: Image.Image) -> None:
    """Check that the points belong to the image. Single points may lie outside it, but not their center."""
    x, y = points_k2.mean(axis=0)
    if not (0 <= x <= image.width and 0 <= y <= image.height):
        raise RowError(f"the face's center ({x:g}, {y:g}) lies outside its {image.width}x{image.height} image")
