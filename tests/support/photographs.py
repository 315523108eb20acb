"""Photographs for tests: the astronaut Eileen Collins by NASA, public domain, which scikit-image carries."""

from __future__ import annotations

from functools import cache

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from rcn_search.inference.detectors.detector import Detection, Framing

FACE_CENTER, FACE_PX = (224.0, 112.0), 110
"""Center and rough width of the face on the photograph."""


@cache
def _pixels() -> NDArray[np.uint8]:
    return np.asarray(skimage.data.astronaut())


def astronaut() -> Image.Image:
    """A photograph of 512x512 pixels with one face."""
    return Image.fromarray(_pixels())


class FixedDetector:
    """A detector that finds what it was created with, for tests of what is done with it."""

    name = "fixed"
    smallest_px = 40
    sure_score = 0.3

    def __init__(self, *found: Detection, rules: tuple[str, ...] = ("four_points", "enclosing")) -> None:
        self.found, self.sizes = list(found), []
        self.framings = {rule: Framing(0.45, 0.0, 0.05) for rule in rules}

    def detect(self, image_hw3: NDArray[np.uint8]) -> list[Detection]:
        """Return the faces at the first of two scales, and note the size of the image."""
        self.sizes.append(image_hw3.shape[:2])
        return self.found if len(self.sizes) % 2 else []
