from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image

from rcn_search.inference.detectors import make_detector
from rcn_search.inference.detectors.detector import Detection, Detector
from rcn_search.inference.detectors.find_faces import MAX_SEARCHED_PX, find_faces, turn_image
from tests.support.photographs import FACE_CENTER, FACE_PX, FixedDetector, astronaut


def center(face: Detection) -> tuple[float, float]:
    return face.x + face.width / 2, face.y + face.height / 2


@pytest.fixture(scope="module", params=["dlib", "skimage"])
def detector(request: pytest.FixtureRequest) -> Detector:
    return make_detector(request.param)


def test_find_faces_upright_face_is_found_where_it_is(detector: Detector) -> None:
    found = find_faces(astronaut(), detector)
    assert found.quarter_turns == 0
    face = min(found.detections, key=lambda face: np.hypot(*np.subtract(center(face), FACE_CENTER)))
    assert center(face) == pytest.approx(FACE_CENTER, abs=15)
    assert face.width == pytest.approx(FACE_PX, abs=25)
    assert len(found.detections) == 1 or detector.name == "skimage"  # which gives no scores


def test_find_faces_small_face_is_found_by_enlarging(detector: Detector) -> None:
    small = astronaut().resize((210, 210))  # a face of 45 pixels
    found = find_faces(small, detector, min_face_px=40).detections
    assert any(np.allclose(center(face), np.array(FACE_CENTER) * 210 / 512, atol=7) for face in found)


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_find_faces_turned_face_is_found_after_turning_back(quarter_turns: int) -> None:
    turned = turn_image(astronaut(), quarter_turns)
    found = find_faces(turned, make_detector("dlib"))
    assert found.quarter_turns == 4 - quarter_turns
    assert center(found.detections[0]) == pytest.approx(FACE_CENTER, abs=15)


def test_find_faces_several_faces_come_by_score() -> None:
    image = Image.new("RGB", (1024, 512))
    image.paste(astronaut(), (0, 0))
    image.paste(astronaut().resize((400, 400)), (600, 50))
    found = find_faces(image, make_detector("dlib")).detections
    assert len(found) == 2
    assert found[0].score >= found[1].score
    assert sorted(center(face)[0] > 512 for face in found) == [False, True]


def test_find_faces_no_face_gives_none() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 90, 3), dtype=np.uint8)
    assert find_faces(Image.fromarray(noise), make_detector("dlib")).detections == []
    assert find_faces(Image.new("RGB", (1, 1)), make_detector("dlib")).detections == []


def test_find_faces_searches_two_scales_and_never_more_than_the_limit() -> None:
    detector = FixedDetector(Detection(0, 0, 9, 9, 1.0))
    find_faces(Image.new("RGB", (400, 200)), detector, min_face_px=20)
    assert detector.sizes == [(400, 800), (200, 400)]
    detector.sizes.clear()
    find_faces(Image.new("RGB", (4 * MAX_SEARCHED_PX, 400)), detector, min_face_px=20)
    assert detector.sizes[0] == (100, MAX_SEARCHED_PX)


def test_find_faces_overlapping_boxes_are_one_face() -> None:
    best, same, other = Detection(0, 0, 100, 100, 2.0), Detection(10, 0, 100, 100, 1.0), Detection(90, 0, 100, 100, 0.5)
    found = find_faces(Image.new("RGB", (40, 40)), FixedDetector(same, other, best), min_face_px=40)
    assert [face.score for face in found.detections] == [2.0, 0.5]


def test_find_faces_unsure_box_counts_only_if_it_is_the_best() -> None:
    unsure, sure = Detection(0, 0, 9, 9, 0.2), Detection(50, 0, 9, 9, 0.4)
    image = Image.new("RGB", (40, 40))
    assert find_faces(image, FixedDetector(unsure)).detections == [unsure]
    assert find_faces(image, FixedDetector(unsure, sure)).detections == [sure]


def test_dlib_detector_serves_several_threads() -> None:
    detector, image = make_detector("dlib"), astronaut()
    alone = find_faces(image, detector)
    results = []
    threads = [threading.Thread(target=lambda: results.append(find_faces(image, detector))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [alone] * 3
