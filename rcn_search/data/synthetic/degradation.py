"""Turn the canvas into the stored picture: uneven light, exposure, blur, low resolution, noise and compression."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from rcn_search.config.drawing import DrawingConfig
from rcn_search.config.schema import IMAGE_SIZE_PX
from rcn_search.data.synthetic.noise import texture
from rcn_search.data.synthetic.traits import USUAL

_SIZE = (IMAGE_SIZE_PX, IMAGE_SIZE_PX)


def photograph(canvas: Image.Image, rng: np.random.Generator, ranges: DrawingConfig = USUAL) -> NDArray[np.uint8]:
    """Simulate a photograph (160, 160) of the canvas."""
    image = canvas.resize(_SIZE, Image.Resampling.BOX)
    image = _optics(image, rng, ranges.blur)
    pixels = np.asarray(image)
    levels: NDArray[np.floating[Any]] = np.arange(256, dtype=np.float32) / 255
    is_uneven = rng.random() < 0.3 * ranges.light
    if is_uneven:
        patches = Image.fromarray(rng.uniform(0.45, 1.25, (4, 4)).astype(np.float32))
        levels = levels[pixels] * np.asarray(patches.resize(_SIZE, Image.Resampling.BICUBIC))
    gamma, contrast, brightness = rng.uniform(0.75, 1.3), rng.uniform(0.55, 1.2), rng.normal(0, 0.05)
    levels = (levels.clip(0, 1) ** np.float32(gamma) - 0.5) * contrast + 0.5 + brightness
    tones = levels if is_uneven else levels[pixels]  # a table of 256 levels unless the light differs between pixels
    grain = contrast * (rng.exponential(0.015) if rng.random() < 0.85 else rng.uniform(0.03, 0.08))
    tones = tones + grain * texture("white", _SIZE, rng)
    pixels = (tones.clip(0, 1) * 255).astype(np.uint8)
    return _compress(pixels, int(rng.integers(12, 80))) if rng.random() < 0.4 else pixels


def _optics(image: Image.Image, rng: np.random.Generator, share: float) -> Image.Image:
    """Apply defocus, motion blur, low resolution, or nothing; ``share`` is relative to 70 % of the pictures."""
    kind = rng.random() / share if share else 1.0
    if kind < 0.35:
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.2)))
    if kind < 0.5:
        reach = int(rng.integers(2, 5))  # the middle line of a 5 x 5 kernel, in one of four directions
        line = np.zeros((5, 5), np.int64)
        steps = np.arange(5)
        line[[steps * 0 + 2, steps, steps, steps][reach - 2], [steps, steps * 0 + 2, steps, 4 - steps][reach - 2]] = 1
        return image.filter(ImageFilter.Kernel((5, 5), line.ravel().tolist(), scale=5))
    if kind < 0.7:
        side = int(rng.integers(36, 110))
        return image.resize((side, side), Image.Resampling.BOX).resize(_SIZE, Image.Resampling.BICUBIC)
    return image


def _compress(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Compress the picture by JPEG, and decompress it."""
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))
