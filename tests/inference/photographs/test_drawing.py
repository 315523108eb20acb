from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from rcn_search.inference.photographs.drawing import draw_faces, save_drawing
from rcn_search.inference.photographs.record import FaceRecord
from rcn_search.keypoints import FIVE


def face(**changes: object) -> FaceRecord:
    points = [(50.0, 50.0), (90.0, 50.0), (70.0, 70.0), (55.0, 90.0), (85.0, 90.0)]
    fields = {"box": (30, 30, 80, 80), "score": 1.0, "points": points, "confidence": [1.0] * 5, "radius": None}
    return FaceRecord.model_validate(fields | changes)


def test_draw_faces_marks_points_and_leaves_the_rest_alone() -> None:
    image = Image.new("RGB", (140, 120), (10, 20, 30))
    drawn = np.asarray(draw_faces(image, [face()], FIVE))
    for x, y in face().points:
        red, green, blue = drawn[int(y), int(x)]
        assert red > 200
        assert green > 150
        assert blue < 80
    assert (drawn[:25] == (10, 20, 30)).all()
    assert np.asarray(image).max() == 30  # the photograph itself is not changed


def test_draw_faces_radius_is_a_circle_of_that_size() -> None:
    image = Image.new("RGB", (140, 120))
    with_circle = np.asarray(draw_faces(image, [face(radius=[0, 0, 12, 0, 0])], FIVE)).astype(int)
    difference = np.abs(with_circle - np.asarray(draw_faces(image, [face()], FIVE))).sum(2)
    rows, columns = np.nonzero(difference > 60)
    distance = np.hypot(columns + 0.5 - 70, rows + 0.5 - 70)
    assert len(distance)
    assert (np.abs(distance - 12) < 1.6).all()


def test_draw_faces_outside_of_the_photograph_draws_nothing_there() -> None:
    image = Image.new("RGB", (50, 50))
    far = face(box=(900, 900, 50, 50), points=[(920.0, 920.0)] * 5)
    assert np.asarray(draw_faces(image, [far], FIVE)).max() == 0
    half = face(box=(20, 20, 80, 80))
    assert draw_faces(image, [half], FIVE).size == (50, 50)


def test_save_drawing_makes_folders(tmp_path: Path) -> None:
    save_drawing(Image.new("RGB", (140, 120)), [face()], FIVE, tmp_path / "a" / "b.png.jpg")
    assert Image.open(tmp_path / "a" / "b.png.jpg").size == (140, 120)
