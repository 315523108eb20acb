"""dlib's detector of frontal faces: HOG features and five linear classifiers (King 2015, arXiv:1502.00046).

Its model is compiled into the package ``dlib-bin``, so nothing is downloaded.
"""

from __future__ import annotations

import threading
from types import MappingProxyType
from typing import Any

import dlib
import numpy as np
from numpy.typing import NDArray

from rcn_search.inference.detectors.detector import Detection, Framing


class DlibDetector:
    """dlib's `get_frontal_face_detector`."""

    name = "dlib"
    smallest_px = 80
    sure_score = 0.3  # of 175 faces of MTFL 8 have less, and most boxes beside them that are no face
    framings = MappingProxyType({"four_points": Framing(0.457, 0.0, 0.010), "enclosing": Framing(0.996, 0.0, 0.084)})

    def __init__(self) -> None:
        self._local = threading.local()  # a detector of dlib keeps the image pyramid of its last call

    def detect(self, image_hw3: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of at least 80 pixels."""
        detector: Any = getattr(self._local, "detector", None)
        if detector is None:
            detector = self._local.detector = dlib.get_frontal_face_detector()
        boxes, scores, _ = detector.run(np.ascontiguousarray(image_hw3), 0, 0.0)
        return [
            Detection(box.left(), box.top(), box.width(), box.height(), float(score))
            for box, score in zip(boxes, scores, strict=True)
        ]
