"""Find the faces of a photograph: at several scales, and turned by quarter turns where none is upright."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from rcn_search.inference.detectors.detector import Detection, Detector

MIN_FACE_PX = 40
"""Side of the smallest face that is looked for by default."""
MAX_SEARCHED_PX = 2_000
"""Longest side at which a detector sees a photograph, so that 50 megapixels take no longer than 4."""
_SAME_FACE_OVERLAP = 0.4  # intersection over union from which two boxes are the same face

# Quarter turns counterclockwise. Upside down comes last, because heads on their side are more frequent.
_TURNS = {1: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_270, 2: Image.Transpose.ROTATE_180}


class FoundFaces(NamedTuple):
    """Faces of a photograph, by descending score.

    Attributes:
        detections: Boxes in pixels of the turned photograph.
        quarter_turns: By how many quarter turns counterclockwise the photograph was turned to see them upright.
    """

    detections: list[Detection]
    quarter_turns: int


def find_faces(image: Image.Image, detector: Detector, min_face_px: int = MIN_FACE_PX) -> FoundFaces:
    """Find the faces of an RGB image.

    The image is searched at two scales: enlarged or reduced so that ``min_face_px`` is the detector's smallest face,
    and at half of that. If no face is upright, the quarter turn with the best score counts.
    """
    if upright := _search(image, detector, min_face_px):
        return FoundFaces(upright, 0)
    best: tuple[float, FoundFaces] | None = None
    for quarter_turns in _TURNS:
        found = _search(turn_image(image, quarter_turns), detector, min_face_px)
        if found and (best is None or found[0].score > best[0]):
            best = found[0].score, FoundFaces(found, quarter_turns)
    return best[1] if best else FoundFaces([], 0)


def turn_image(image: Image.Image, quarter_turns: int) -> Image.Image:
    """Turn an image counterclockwise."""
    return image.transpose(_TURNS[quarter_turns]) if quarter_turns else image


def _search(image: Image.Image, detector: Detector, min_face_px: int) -> list[Detection]:
    """Search an upright image at two scales; the best box of each face, by descending score."""
    full = min(detector.smallest_px / min_face_px, MAX_SEARCHED_PX / max(image.size))
    found: list[Detection] = []
    for scale in (full, full / 2):
        width, height = (max(round(side * scale), 1) for side in image.size)
        if min(width, height) < detector.smallest_px and scale < full:
            continue  # nothing fits
        scaled = image if (width, height) == image.size else image.resize((width, height), Image.Resampling.BILINEAR)
        ratio_x, ratio_y = image.width / width, image.height / height
        found += [
            Detection(face.x * ratio_x, face.y * ratio_y, face.width * ratio_x, face.height * ratio_y, face.score)
            for face in detector.detect(np.asarray(scaled))
        ]
    return _best_of_each(found, detector.sure_score)


def _best_of_each(found: list[Detection], sure_score: float) -> list[Detection]:
    """Keep the box with the highest score of all that overlap; others than the best of all need ``sure_score``."""
    kept: list[Detection] = []
    for face in sorted(found, key=lambda face: -face.score):
        if kept and face.score < sure_score:
            break
        if all(_overlap(face, other) < _SAME_FACE_OVERLAP for other in kept):
            kept.append(face)
    return kept


def _overlap(one: Detection, other: Detection) -> float:
    """Intersection over union."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    intersection = max(width, 0.0) * max(height, 0.0)
    return intersection / (one.width * one.height + other.width * other.height - intersection)
