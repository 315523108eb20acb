from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rcn_search.data.crops import Box
from rcn_search.data.importers.photo import five_point_sample
from rcn_search.inference.detectors.detector import Detection
from rcn_search.inference.framing import frame_detection, frame_points, is_same_face
from rcn_search.keypoints import FIVE, IBUG68
from tests.support.photographs import FixedDetector


@pytest.mark.parametrize("shift", [0, -60, 90])  # the last two lead to crops that are moved into the image
def test_frame_points_of_true_points_is_the_frame_of_the_importer(shift: int) -> None:
    points_k2 = np.array([[200.3, 100], [250, 101.7], [225, 120], [205, 145.2], [245, 145]]) + shift
    image = Image.new("RGB", (360, 300))
    sample = five_point_sample(image, points_k2, image_id="a", group="a")
    frame = frame_points(points_k2, FIVE, image.size, 160)
    assert frame.box == tuple(sample.box)
    assert frame.face_box == tuple(sample.face_box)


def test_frame_points_encloses_the_points_of_other_schemas() -> None:
    points_k2 = np.random.default_rng(0).uniform(100, 200, (68, 2)).astype(np.float32)
    frame = frame_points(points_k2, IBUG68, (300, 300), 160)
    assert 165 <= frame.box.width <= 175
    assert frame.face_box[2] == pytest.approx(160 * 1.3 / 1.7, abs=3)


def test_frame_detection_has_the_shares_of_its_framing() -> None:
    detector = FixedDetector()
    face = Detection(100, 100, 100, 100, 1.0)
    frame = frame_detection(face, detector, FIVE, (300, 300), 160)
    assert frame.box == Box(71, 76, 158, 158)  # 45 x (1 + 2 x 1.25) around 150, 155
    assert frame.face_box == pytest.approx((13.7, 13.7, 132.2, 132.2), abs=0.7)
    assert frame_detection(face, detector, IBUG68, (300, 300), 160).box.width == pytest.approx(45 * 1.7, abs=1)


def test_frame_detection_at_the_border_moves_the_crop_inside_and_the_face_box_within_it() -> None:
    frame = frame_detection(Detection(-20, 100, 100, 100, 1.0), FixedDetector(), FIVE, (300, 300), 160)
    assert (frame.box.x, frame.box.width) == (0, 158)
    assert frame.face_box[0] == 0
    tiny = frame_detection(Detection(0, 0, 100, 100, 1.0), FixedDetector(), FIVE, (60, 90), 160)
    assert (tiny.box.x, tiny.box.width) == (0, 60)
    outside = frame_detection(Detection(-20, 100, 100, 100, 1.0), FixedDetector(), IBUG68, (30, 300), 160)
    assert outside.box.x < 0  # crops of this rule are padded


@pytest.mark.parametrize(
    ("after", "same"),
    [
        (Box(0, 0, 100, 100), True),
        (Box(20, 20, 70, 70), True),
        (Box(60, 0, 100, 100), False),
        (Box(25, 25, 49, 49), False),
        (Box(0, 0, 200, 200), False),
        (Box(50, 50, 0, 0), False),
    ],
)
def test_is_same_face_bounds_shift_and_size(after: Box, same: bool) -> None:
    assert is_same_face(Box(0, 0, 100, 100), after) == same
