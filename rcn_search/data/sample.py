"""One annotated face of k points, as importers make it and shards store it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rcn_search.config.schema import IMAGE_SIZE_PX

ATTRIBUTE_CLASSES = {"gender": 2, "smile": 2, "glasses": 2, "pose": 5}
"""Number of classes of the attributes that TCDCN learns and a flip changes; those of other names may have any."""

WHOLE_CROP = (0.0, 0.0, float(IMAGE_SIZE_PX), float(IMAGE_SIZE_PX))  # x, y, width, height in crop pixels


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A cropped face with its points."""

    image: NDArray[np.uint8]  # (160, 160) uint8 gray, or (160, 160, 3) red, green, blue
    points: NDArray[np.float32]  # (k, 2) float32 x, y in crop pixels; pixel i covers [i, i + 1)
    visible: NDArray[np.bool_]  # (k,) bool
    box: NDArray[np.float32]  # (4,) x, y, width, height of the crop in the original image
    face_box: NDArray[np.float32]  # (4,) x, y, width, height in crop pixels of the part that the network sees
    image_id: str  # name of the face, unique within its data set
    group: str  # identity or photograph; a group is never divided between splits
    attributes: dict[str, int] = field(default_factory=dict)  # class of each attribute, for example pose
    # (k,) uint8 edge of the photograph at which a point lies, as in `rcn_search.data.photo_borders`; by default all 0
    edge: NDArray[np.uint8] = None  # type: ignore[assignment]  # replaced by zeros for all points
    # (4,) x, y, width, height in crop pixels of the part that is not black padding; by default the whole crop
    photo: NDArray[np.float32] = field(default_factory=lambda: np.array(WHOLE_CROP, np.float32))

    def __post_init__(self) -> None:
        if self.edge is None:
            object.__setattr__(self, "edge", np.zeros(len(self.points), np.uint8))
