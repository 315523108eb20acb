"""Predicted faces of one or several images. Shape letters: n faces, k points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Faces(NamedTuple):
    """Predicted keypoints of n faces.

    Attributes:
        points: (n, k, 2) float32 x, y in pixels of the image; pixel i covers [i, i + 1).
        confidence: (n, k) float32, the probability within the 5x5 cells around each point; 1 of networks that predict
            coordinates.
        radius: (n, k) float32, pixels of the image: the circle around each point that holds the true point with the
            probability for which the checkpoint was calibrated; NaN if it was not.
        boxes: (n, 4) float32 x, y, width, height of the crop of each face in its image.
        scores: (n,) float32, the detector's score; NaN where boxes were given.
        image_index: (n,) int64, which of the images each face is in.
        quarter_turns: (n,) int64, by how many quarter turns counterclockwise its image was turned for the crop.
    """

    points: NDArray[np.float32]
    confidence: NDArray[np.float32]
    radius: NDArray[np.float32]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    image_index: NDArray[np.int64]
    quarter_turns: NDArray[np.int64]


def join_faces(parts: Sequence[Faces], num_points: int) -> Faces:
    """Concatenate the faces of several images, which are numbered in the order of the parts."""
    if not parts:
        return no_faces(num_points)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    index = np.repeat(np.arange(len(parts)), [len(part.points) for part in parts])
    return Faces(*columns)._replace(image_index=index)


def no_faces(num_points: int) -> Faces:
    """Return zero faces."""
    return Faces(
        points=np.zeros((0, num_points, 2), np.float32),
        confidence=np.zeros((0, num_points), np.float32),
        radius=np.zeros((0, num_points), np.float32),
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        image_index=np.zeros(0, np.int64),
        quarter_turns=np.zeros(0, np.int64),
    )


def turn_back(faces: Faces, quarter_turns: int, turned_size: tuple[int, int]) -> Faces:
    """Convert faces of an image that was turned counterclockwise to pixels of the image itself.

    Args:
        faces: Faces in pixels of the turned image.
        quarter_turns: 0 to 3.
        turned_size: Width and height of the turned image.
    """
    points, boxes = faces.points, faces.boxes
    width, height = turned_size
    for _ in range(quarter_turns):  # one quarter turn clockwise
        points = np.stack([height - points[..., 1], points[..., 0]], axis=-1)
        x, y, box_width, box_height = boxes.T
        boxes = np.stack([height - y - box_height, x, box_height, box_width], axis=1)
        width, height = height, width
    turns = np.full(len(points), quarter_turns, np.int64)
    return faces._replace(points=points, boxes=boxes, quarter_turns=turns)
