"""Common form of external prediction files: points by image name.

Shape letters: k points.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rcn_search.errors import RcnSearchError

ExternalPredictions = dict[str, NDArray[np.float64]]
"""Image name to (k, 2) points in pixels of the original image."""

MAX_FACES = 5_000_000
MAX_POINTS = 1_000


def collect_faces(named: Iterable[tuple[Any, Any]]) -> ExternalPredictions:
    """Collect faces given as image names with flat or paired coordinates.

    Raises:
        RcnSearchError: A name is not text or occurs twice, or its points are not pairs of numbers.
    """
    faces: ExternalPredictions = {}
    for number, (name, coordinates) in enumerate(named, start=1):
        if number > MAX_FACES:
            raise RcnSearchError(f"more than {MAX_FACES:,} faces")
        if not isinstance(name, str) or not name:
            raise RcnSearchError(f"face {number} has {str(name)[:80]!r} in place of an image name")
        if name in faces:
            raise RcnSearchError(f"image {name!r} occurs twice, so it is not clear which face is meant")
        try:
            values = np.array(coordinates, dtype=np.float64)
        except (ValueError, TypeError, OverflowError):
            raise RcnSearchError(f"the points of {name!r} are not numbers") from None
        if values.size % 2 or not 2 <= values.size <= 2 * MAX_POINTS:
            raise RcnSearchError(f"the points of {name!r} are {values.size} numbers, not pairs of x and y")
        faces[name] = values.reshape(-1, 2)
    return faces
