from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcn_search.config.schema import TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.inference.detectors.detector import Detection
from rcn_search.inference.detectors.find_faces import turn_image
from rcn_search.inference.predictor import Predictor, load
from tests.support.checkpoints import write_untrained
from tests.support.photographs import FACE_CENTER, FACE_PX, FixedDetector, astronaut

FACE = Detection(FACE_CENTER[0] - FACE_PX / 2, FACE_CENTER[1] - FACE_PX / 2, FACE_PX, FACE_PX, 1.5)


@pytest.fixture
def predictor(tiny_config: TrainConfig, tmp_path: Path) -> Predictor:
    return load(write_untrained(tiny_config, tmp_path))


def test_predict_without_boxes_finds_the_face(predictor: Predictor) -> None:
    faces = predictor.predict(astronaut())
    assert faces.points.shape == (1, 5, 2)
    x, y, width, height = faces.boxes[0]
    assert x < FACE_CENTER[0] < x + width
    assert y < FACE_CENTER[1] < y + height
    assert faces.scores[0] > 0
    assert np.isnan(faces.radius).all()


def test_predict_turned_photograph_turns_the_points(predictor: Predictor) -> None:
    upright = predictor.predict(astronaut(), detector="dlib")
    turned = predictor.predict(turn_image(astronaut(), 1), detector="dlib")
    assert turned.quarter_turns.tolist() == [3]
    x, y = upright.points[0].T
    np.testing.assert_allclose(turned.points[0], np.stack([y, 512 - x], axis=1), atol=1e-3)


def test_predict_list_of_images_says_which_image_each_face_is_on(predictor: Predictor) -> None:
    blank = Image.new("RGB", (100, 100))
    faces = predictor.predict([astronaut(), blank, astronaut()], detector="dlib")
    assert faces.image_index.tolist() == [0, 2]
    np.testing.assert_array_equal(faces.points[0], faces.points[1])
    assert predictor.predict([blank]).points.shape == (0, 5, 2)


def test_predict_detected_face_is_framed_again_by_its_points(predictor: Predictor) -> None:
    """The second crop is the one that the points of the first lead to, unless those are not the points of a face."""
    points = np.array([[200, 100], [250, 100], [225, 120], [205, 145], [245, 145]], np.float32)
    calls = []
    real = predictor.predict

    class Watched(Predictor):
        def __init__(self) -> None:
            self.__dict__.update(predictor.__dict__)

        def predict(self, images, boxes=None, **options):  # type: ignore[no-untyped-def, override]
            if boxes is None:
                return super().predict(images, boxes, **options)
            calls.append(boxes[0])
            faces = real(images, boxes, **options)
            return faces._replace(points=points[None]) if len(calls) == 1 else faces

    Watched().predict(astronaut(), detector=FixedDetector(FACE))
    assert len(calls) == 2
    assert calls[0] != calls[1]
    assert calls[1].x + calls[1].width / 2 == pytest.approx(225, abs=1)
    calls.clear()
    points += 300  # no face is there
    Watched().predict(astronaut(), detector=FixedDetector(FACE))
    assert calls[0] == calls[1]


def test_predict_detector_without_framing_of_the_rule_is_refused(predictor: Predictor) -> None:
    with pytest.raises(RcnSearchError, match="'fixed' has no framing for the box rule 'four_points'"):
        predictor.predict(astronaut(), detector=FixedDetector(FACE, rules=("enclosing",)))


def test_predict_face_boxes_without_boxes_are_refused(predictor: Predictor) -> None:
    with pytest.raises(RcnSearchError, match="give boxes as well"):
        predictor.predict(astronaut(), face_boxes=[[0, 0, 9, 9]])


def test_predict_in_threads_gives_the_same(predictor: Predictor) -> None:
    alone = predictor.predict(astronaut())
    results = []
    threads = [threading.Thread(target=lambda: results.append(predictor.predict(astronaut()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for faces in results:
        np.testing.assert_array_equal(faces.points, alone.points)
