from __future__ import annotations

import csv
from pathlib import Path

import av
import numpy as np
import pytest

from rcn_search.config.schema import TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.inference.detectors.detector import Detection
from rcn_search.inference.predictor import Predictor, load
from rcn_search.inference.video import follow_faces as following
from rcn_search.inference.video.frames import VideoWriter, open_video
from rcn_search.inference.video.predict_video import predict_video
from tests.support.checkpoints import write_untrained
from tests.support.photographs import FACE_CENTER, FACE_PX, FixedDetector, astronaut

NUM_FRAMES, RATE = 13, 20
FACE = Detection(FACE_CENTER[0] - FACE_PX / 2, FACE_CENTER[1] - FACE_PX / 2, FACE_PX, FACE_PX, 1.5)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The astronaut for 13 frames, in an odd size."""
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    writer = VideoWriter(path, RATE)
    for _ in range(NUM_FRAMES):
        writer.write(astronaut().crop((0, 0, 401, 301)))
    writer.close()
    return path


@pytest.fixture
def predictor(tiny_config: TrainConfig, tmp_path: Path) -> Predictor:
    return load(write_untrained(tiny_config, tmp_path))


def test_open_video_yields_the_frames_that_were_written(video: Path) -> None:
    with open_video(str(video)) as (rate, frames):
        listed = list(frames)
    assert rate == RATE
    assert [frame.time_s for frame in listed] == pytest.approx([index / RATE for index in range(NUM_FRAMES)])
    assert listed[0].image.size == (400, 300)
    original = np.asarray(astronaut().crop((0, 0, 400, 300)), np.float32)
    assert np.abs(np.asarray(listed[5].image, np.float32) - original).mean() < 12


def test_predict_video_writes_points_and_pictures(
    predictor: Predictor, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "MIN_CONFIDENCE", 0.0)  # the network is not trained
    monkeypatch.setattr(following, "is_same_face", lambda *_: True)
    found = predict_video(predictor, str(video), FixedDetector(FACE), out=tmp_path / "out", min_face_px=40)
    assert (found.num_frames, found.num_without) == (NUM_FRAMES, 0)
    assert found.smooth_jitter_pct <= found.jitter_pct
    assert found.paths == [tmp_path / "out" / "a.mp4.csv", tmp_path / "out" / "a.mp4.mp4"]
    lines = list(csv.DictReader(found.paths[0].open()))
    assert [int(line["frame"]) for line in lines if line["face"] == "1"] == list(range(NUM_FRAMES))
    assert float(lines[1]["time_s"]) == pytest.approx(1 / RATE)
    with open_video(str(found.paths[1])) as (_, frames):
        assert sum(1 for _ in frames) == NUM_FRAMES


def test_predict_video_face_that_is_lost_is_searched_again(predictor: Predictor, video: Path) -> None:
    """An untrained network is never sure, so every frame starts anew."""
    detector = FixedDetector(FACE)
    found = predict_video(predictor, str(video), detector, out=None, min_face_px=40)
    assert len(detector.sizes) == 2 * NUM_FRAMES
    assert (found.num_faces, found.paths) == (NUM_FRAMES, [])


def test_predict_video_without_frames_or_video_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    def predict(path: Path) -> None:
        predict_video(predictor, str(path), FixedDetector(), out=None, min_face_px=40)

    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(RcnSearchError, match=r"text\.mp4 is not a readable video"):
        predict(tmp_path / "text.mp4")
    with pytest.raises(RcnSearchError, match=r"nowhere\.mp4 is not a readable video"):
        predict(tmp_path / "nowhere.mp4")
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(RcnSearchError, match="has no video, only 1 other streams"):
        predict(tmp_path / "sound.mkv")


def test_predict_video_that_has_a_header_alone_has_no_frames(predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "empty.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        container.start_encoding()
    with pytest.raises(RcnSearchError, match=r"empty\.mkv (has no frames|is not a readable video)"):
        predict_video(predictor, str(path), FixedDetector(), out=None, min_face_px=40)


def test_video_writer_without_a_picture_writes_nothing(tmp_path: Path) -> None:
    VideoWriter(tmp_path / "a.mp4", 25).close()
    assert not (tmp_path / "a.mp4").exists()
