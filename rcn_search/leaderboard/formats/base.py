"""What any file of predictions comes down to: points by the name of an image.

Shape letters: k points.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

ExternalPredictions = dict[str, NDArray[np.float64]]
"""Name of an image to (k, 2) points in pixels of the original image."""

MAX_FACES = 5_000_000
MAX_POINTS = 1_000


def collect_faces(named: Iterable[tuple[Any, Any]]) -> ExternalPredictions:
    """Answers from names and flat or paired coordinates.

    Raises:
        ValueError: A name is not text, stands twice, or its points are not numbers in pairs.
    """
    answers: ExternalPredictions = {}
    for number, (name, coordinates) in enumerate(named, start=1):
        if number > MAX_FACES:
            raise ValueError(f"more than {MAX_FACES:,} faces")
        if not isinstance(name, str) or not name:
            raise ValueError(f"face {number} has no name of an image but {str(name)[:80]!r}")
        if name in answers:
            raise ValueError(f"the image {name!r} stands twice, so it is not clear which face is meant")
        try:
            values = np.array(coordinates, dtype=np.float64)
        except (ValueError, TypeError, OverflowError):
            raise ValueError(f"the points of {name!r} are not numbers") from None
        if values.size % 2 or not 2 <= values.size <= 2 * MAX_POINTS:
            raise ValueError(f"the points of {name!r} are {values.size} numbers, not pairs of x and y")
        answers[name] = values.reshape(-1, 2)
    return answers
