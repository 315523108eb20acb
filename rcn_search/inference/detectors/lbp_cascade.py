"""scikit-image's cascade of local binary patterns for frontal faces, whose model is in the package."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import skimage.data
from numpy.typing import NDArray
from skimage.feature import Cascade

from rcn_search.inference.detectors.detector import Detection, Framing


class LbpDetector:
    """`skimage.feature.Cascade` with the file of `lbp_frontal_face_cascade_filename`; it gives no scores."""

    name = "skimage"
    smallest_px = 40
    sure_score = 0.0
    framings = MappingProxyType({"four_points": Framing(0.409, 0.0, 0.076), "enclosing": Framing(0.928, 0.0, 0.152)})

    def __init__(self) -> None:
        self._cascade = Cascade(skimage.data.lbp_frontal_face_cascade_filename())

    def detect(self, image_hw3: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of at least 40 pixels."""
        longest = max(image_hw3.shape[:2])
        found = self._cascade.detect_multi_scale(
            np.ascontiguousarray(image_hw3),
            scale_factor=1.1,
            step_ratio=1.0,
            min_size=(self.smallest_px, self.smallest_px),
            max_size=(longest, longest),
        )
        return [Detection(face["c"], face["r"], face["width"], face["height"], 1.0) for face in found]
