"""What a face detector is, and how its boxes relate to the crops that networks are trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Detection(NamedTuple):
    """A face: left, top, width and height in pixels of the image, of which pixel i covers [i, i + 1), and a score."""

    x: float
    y: float
    width: float
    height: float
    score: float


class Framing(NamedTuple):
    """Where the square that a `BoxRule` finds around the points of a face lies, in sides of the detector's box.

    The side is that of the square without the margin of the rule. The values of the built-in detectors are medians of
    250 validation faces of MTFL and 201 of 300-W, of which no shift to the left or right remains; measured by
    ``benchmarks/detector_boxes.py``.
    """

    side: float
    shift_x: float  # from the center of the detector's box to the center of the square
    shift_y: float


class Detector(Protocol):
    """Finds upright faces in one image. Several threads may use a detector at once.

    Attributes:
        name: Name on the command line.
        smallest_px: Side of the smallest face that it finds; `find_faces` enlarges images for smaller ones.
        sure_score: Score that the second and further faces of an image need; the best one counts with any score.
        framings: By the name of a box rule, how the detector's boxes relate to the squares of the rule.
    """

    name: str
    smallest_px: int
    sure_score: float
    framings: Mapping[str, Framing]

    def detect(self, image_hw3: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of an image (h, w, 3) red, green, blue, in any order; boxes may leave the image."""
        ...
