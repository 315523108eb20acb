from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcn_search.config.schema import TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.inference.config import DEFAULT_INFERENCE
from rcn_search.inference.detectors.detector import Detection
from rcn_search.inference.photographs import predict_photos as module
from rcn_search.inference.photographs.listing import Photo
from rcn_search.inference.photographs.predict_photos import PhotoPredictor, PredictOptions, choose_jobs, predict_photos
from rcn_search.inference.photographs.record import PhotoRecord, Selection, photo_record_json
from rcn_search.inference.predictor import load
from tests.support.checkpoints import write_untrained
from tests.support.photographs import FixedDetector, astronaut


@pytest.fixture
def weights(tiny_config: TrainConfig, tmp_path: Path) -> str:
    return write_untrained(tiny_config, tmp_path)


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    """Three photographs, of which the second is damaged."""
    astronaut().save(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:2000])
    Image.new("RGB", (30, 20)).save(tmp_path / "c.png")
    return [Photo(str(tmp_path / name), name) for name in ("a.jpg", "b.jpg", "c.png")]


def run(weights: str, photos: list[Photo], num_jobs: int = 1, **options: object) -> list[PhotoRecord]:
    predict = PhotoPredictor(load(weights), PredictOptions(**options))  # type: ignore[arg-type]
    return list(predict_photos(photos, predict, weights=weights, inference=DEFAULT_INFERENCE, num_jobs=num_jobs))


def test_predict_photos_records_faces_size_and_what_could_not_be_read(
    weights: str, photos: list[Photo], tmp_path: Path
) -> None:
    whole, damaged, crop = run(weights, photos, detector="none", pictures=tmp_path / "pictures")
    expected = load(weights).predict(photos[0].name, detector="none")
    assert (whole.width, whole.height, len(whole.faces)) == (512, 512, 1)
    np.testing.assert_array_equal(np.float32(whole.faces[0].points), expected.points[0])
    assert whole.faces[0].box == (0, 0, 512, 512)
    assert damaged.faces == []
    assert damaged.error is not None
    assert damaged.error.startswith("image cannot be read")
    assert (crop.width, crop.error) == (30, None)
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["a.jpg.jpg", "c.png.jpg"]


def test_predict_photos_takes_boxes_and_photographs_without_one_have_no_face(weights: str, photos: list[Photo]) -> None:
    boxes = {photos[0].name: [(150.0, 40.0, 150.0, 150.0), (0.0, 0.0, 90.0, 90.0)], photos[1].name: []}
    records = run(weights, photos, boxes=boxes)
    assert [len(record.faces) for record in records] == [2, 0, 0]
    assert records[0].faces[0].score is None
    outside = run(weights, photos[:1], boxes={photos[0].name: [(600.0, 0.0, 9.0, 9.0)]})
    assert "lies outside of the 512x512 image" in str(outside[0].error)


def test_predict_photos_keeps_the_largest_and_the_sure_faces(weights: str, photos: list[Photo]) -> None:
    boxes = {photos[0].name: [(150.0, 40.0, 100.0, 100.0), (0.0, 0.0, 200.0, 200.0)]}
    (record,) = run(weights, photos[:1], boxes=boxes, selection=Selection(faces="largest"))
    assert [face.box[2] for face in record.faces] == [200]
    (record,) = run(weights, photos[:1], boxes=boxes, selection=Selection(min_confidence=1.0))
    assert record.faces == []


def test_predict_photos_makes_one_detector_for_all(
    weights: str, photos: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = FixedDetector(Detection(170, 60, 110, 110, 1.0))
    asked = []
    monkeypatch.setattr(module, "make_detector", lambda name: asked.append(name) or detector)
    assert [len(record.faces) for record in run(weights, [photos[0], photos[0]], detector="fixed")] == [1, 1]
    assert asked == ["fixed"]


@pytest.mark.slow
def test_predict_photos_in_processes_gives_the_same_in_order(weights: str, photos: list[Photo]) -> None:
    many = photos * 5
    alone, several = (run(weights, many, jobs, detector="none") for jobs in (1, 2))
    assert [photo_record_json(record) for record in several] == [photo_record_json(record) for record in alone]


def die(photo: Photo) -> None:
    """End the process as a lack of memory would."""
    os._exit(1)


@pytest.mark.slow
def test_predict_photos_process_that_dies_is_an_error(
    weights: str, photos: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_predict_in_worker", die)
    monkeypatch.setattr(module, "_start_worker", print)
    with pytest.raises(RcnSearchError, match=r"a process died near .*continue with --resume"):
        run(weights, photos, 2, detector="none")


def test_choose_jobs_starts_processes_for_many_photographs_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "num_cpus", lambda: 7)
    assert [choose_jobs(count, "cpu") for count in (1, 23, 24, 1000)] == [1, 1, 7, 7]
    assert choose_jobs(1000, "cuda:0") == 1
