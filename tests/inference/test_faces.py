from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rcn_search.inference.detectors.find_faces import turn_image
from rcn_search.inference.faces import join_faces, no_faces, turn_back


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_turn_back_finds_the_pixel_in_the_original(quarter_turns: int) -> None:
    pixels = np.zeros((7, 11), np.uint8)
    pixels[2, 5] = 255
    turned = turn_image(Image.fromarray(pixels), quarter_turns)
    row, column = np.argwhere(np.asarray(turned))[0]
    faces = no_faces(1)._replace(
        points=np.array([[[column + 0.5, row + 0.5]]], np.float32), boxes=np.array([[column, row, 1, 1]], np.float32)
    )
    original = turn_back(faces, quarter_turns, turned.size)
    assert original.points.tolist() == [[[5.5, 2.5]]]
    assert original.boxes.tolist() == [[5, 2, 1, 1]]
    assert original.quarter_turns.tolist() == [quarter_turns]


def test_join_faces_numbers_the_images() -> None:
    one, two = (no_faces(3)._replace(**{
        "points": np.zeros((n, 3, 2), np.float32),
        "confidence": np.zeros((n, 3), np.float32),
        "radius": np.zeros((n, 3), np.float32),
        "boxes": np.zeros((n, 4), np.float32),
        "scores": np.zeros(n, np.float32),
        "image_index": np.zeros(n, np.int64),
        "quarter_turns": np.zeros(n, np.int64),
    }) for n in (1, 2))  # fmt: skip
    assert join_faces([one, no_faces(3), two], 3).image_index.tolist() == [0, 2, 2]
    assert join_faces([], 3).points.shape == (0, 3, 2)
