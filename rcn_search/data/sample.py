"""One face as importers give it and shards store it.

Shape letters: k points.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rcn_search.config.schema import IMAGE_SIZE_PX

WHOLE_CROP = (0.0, 0.0, float(IMAGE_SIZE_PX), float(IMAGE_SIZE_PX))
"""x, y, width, height."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One face, cropped.

    Attributes:
        image: (160, 160) uint8 grey, or (160, 160, 3) red, green, blue.
        points: (k, 2) float32 x, y in crop pixels; pixel i covers [i, i + 1).
        visible: (k,) bool.
        box: (4,) x, y, width, height of the crop in the original image.
        face_box: (4,) x, y, width, height in crop pixels of what the network sees.
        image_id: Name of the image within its source.
        group: Identity or photo; a split never separates a group.
        attributes: Small classes, for example pose.
        edge: (k,) uint8: at which edge of the photograph a point lies, 0 none, 1 left, 2 top, 3 right, 4 bottom; only
            where the crop was padded (rcn.md 1.5). By default no point does.
        photo: (4,) x, y, width, height in crop pixels of what shows the photograph; the rest is black padding. By
            default all of it does.
    """

    image: NDArray[np.uint8]
    points: NDArray[np.float32]
    visible: NDArray[np.bool_]
    box: NDArray[np.float32]
    face_box: NDArray[np.float32]
    image_id: str
    group: str
    attributes: dict[str, int] = field(default_factory=dict)
    edge: NDArray[np.uint8] = None  # type: ignore[assignment]  # as many zeros as there are points
    photo: NDArray[np.float32] = field(default_factory=lambda: np.array(WHOLE_CROP, np.float32))

    def __post_init__(self) -> None:
        if self.edge is None:
            object.__setattr__(self, "edge", np.zeros(len(self.points), np.uint8))
