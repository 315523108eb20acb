"""Banks of random texture, made once per process, of which every picture uses random pieces.

Fresh noise of good quality for each picture would take longer than all other steps.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE_PX = 640
Tones = NDArray[np.float32]


@cache
def _bank(kind: str) -> Tones:
    """Create a texture (640, 640) with zero mean and unit standard deviation."""
    rng = np.random.default_rng([7, *kind.encode()])
    if kind == "white":
        return rng.normal(0, 1, (_SIDE_PX, _SIDE_PX)).astype(np.float32)
    # Sums of octaves: smoothed noise of growing grain and strength. Strands are grains stretched vertically.
    stretch_y, octaves = {"cloud": (1, 7), "skin": (1, 4), "strands": (12, 3)}[kind]
    total = np.zeros((_SIDE_PX, _SIDE_PX), np.float32)
    for octave in range(octaves):
        grain = 2**octave
        shape = (max(2, _SIDE_PX // (grain * stretch_y)), max(2, _SIDE_PX // grain))
        coarse = Image.fromarray(rng.normal(0, 1, shape).astype(np.float32))
        total += grain**0.8 * np.asarray(coarse.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BICUBIC))
    return np.asarray((total - total.mean()) / total.std())


def texture(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> Tones:
    """Cut a random piece (rows, columns) from a bank: white, skin (fine), cloud (all scales) or strands (vertical)."""
    row, col = (int(rng.integers(0, _SIDE_PX - size + 1)) for size in shape)
    return _bank(kind)[row : row + shape[0], col : col + shape[1]]


def to_pixels(tones: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Convert tones to 8 bits, clipped to [0, 1]."""
    levels = tones * 255
    return levels.clip(0, 255, out=levels).astype(np.uint8)


def to_image(tones: NDArray[np.floating[Any]]) -> Image.Image:
    """Convert tones to an 8-bit picture, clipped to [0, 1]."""
    return Image.fromarray(to_pixels(tones))


def paste_texture(
    canvas: Image.Image, cover: Image.Image, grain: Tones, tones: Callable[[Tones], Tones] = lambda grain: grain
) -> None:
    """Paste the tones that a function makes of a texture of the canvas's size; made only where the cover is."""
    box = cover.getbbox()
    if box is not None:
        left, top, right, bottom = box
        canvas.paste(to_image(tones(grain[top:bottom, left:right])), box, cover.crop(box))
