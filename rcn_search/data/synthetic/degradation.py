"""Turn the canvas into the stored picture: uneven light, exposure, blur, low resolution, noise and compression."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from rcn_search.config.drawing import DrawingConfig
from rcn_search.config.schema import IMAGE_SIZE_PX
from rcn_search.data.synthetic.noise import texture, to_pixels
from rcn_search.data.synthetic.traits import USUAL

_SIZE = (IMAGE_SIZE_PX, IMAGE_SIZE_PX)
_LEVELS = np.arange(256, dtype=np.float32) / 255
_DIRECTIONS = ((0, 1), (1, 0), (-1, 1))  # of motion blur: down, right


def photograph(canvas: Image.Image, rng: np.random.Generator, ranges: DrawingConfig = USUAL) -> NDArray[np.uint8]:
    """Simulate a photograph (160, 160) of the canvas."""
    image = _optics(_reduce(canvas), rng, ranges.blur)
    pixels = np.asarray(image)
    levels: NDArray[np.floating[Any]] = _LEVELS
    is_uneven = rng.random() < 0.3 * ranges.light
    if is_uneven:
        patches = Image.fromarray(rng.uniform(0.45, 1.25, (4, 4)).astype(np.float32))
        levels = levels.take(pixels) * np.asarray(patches.resize(_SIZE, Image.Resampling.BICUBIC))
    gamma, contrast, brightness = rng.uniform(0.75, 1.3), rng.uniform(0.55, 1.2), rng.normal(0, 0.05)
    levels = (levels.clip(0, 1) ** np.float32(gamma) - 0.5) * contrast + 0.5 + brightness
    tones = levels if is_uneven else levels.take(pixels)  # a table of 256 unless the light differs between pixels
    grain = contrast * (rng.exponential(0.015) if rng.random() < 0.85 else rng.uniform(0.03, 0.08))
    pixels = to_pixels(tones + grain * texture("white", _SIZE, rng))
    return _compress(pixels, int(rng.integers(12, 80))) if rng.random() < 0.4 else pixels


def _reduce(canvas: Image.Image) -> Image.Image:
    """Reduce the canvas by 5 to 4, as Pillow does with the filter ``BOX``: one pixel in five is the mean of two."""
    pixels = np.asarray(canvas)
    narrow = _four_of_five(pixels.reshape(canvas.height, -1, 5).transpose(1, 2, 0))  # columns first
    return Image.fromarray(_four_of_five(narrow.T.reshape(-1, 5, IMAGE_SIZE_PX)))


def _four_of_five(lines_n5m: NDArray[np.uint8]) -> NDArray[np.uint8]:
    first, second, third, fourth, fifth = lines_n5m.transpose(1, 0, 2)
    lines = np.empty((len(first), 4, lines_n5m.shape[2]), np.uint8)
    lines[:, 0], lines[:, 2], lines[:, 3] = first, fourth, fifth
    lines[:, 1] = (second.astype(np.uint16) + third + 1) >> 1
    return lines.reshape(-1, lines_n5m.shape[2])


def _optics(image: Image.Image, rng: np.random.Generator, share: float) -> Image.Image:
    """Apply defocus, motion blur, low resolution, or nothing; ``share`` is relative to 70 % of the pictures."""
    kind = rng.random() / share if share else 1.0
    if kind < 0.35:
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.2)))
    if kind < 0.5:
        return _move(image, *_DIRECTIONS[int(rng.integers(2, 5)) - 2])
    if kind < 0.7:
        side = int(rng.integers(36, 110))
        return image.resize((side, side), Image.Resampling.BOX).resize(_SIZE, Image.Resampling.BICUBIC)
    return image


def _move(image: Image.Image, down: int, right: int) -> Image.Image:
    """Average each pixel with two before and two after it; the border of two pixels stays."""
    pixels = np.array(image)
    last = IMAGE_SIZE_PX - 2
    steps = [pixels[2 + k * down : last + k * down, 2 + k * right : last + k * right] for k in range(-2, 3)]
    total = steps[0].astype(np.uint16)
    for step in steps[1:]:
        total += step
    pixels[2:last, 2:last] = (total + 2) // 5
    return Image.fromarray(pixels)


def _compress(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Compress the picture by JPEG, and decompress it."""
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file, formats=["JPEG"]))
