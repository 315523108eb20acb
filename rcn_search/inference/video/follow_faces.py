"""Follow the faces of a video: the points of one frame frame the crops of the next."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rcn_search.data.crops import Box
from rcn_search.errors import RcnSearchError
from rcn_search.inference.detect_and_predict import detect_and_predict, predict_frames
from rcn_search.inference.detectors.detector import Detector
from rcn_search.inference.faces import Faces
from rcn_search.inference.framing import Frame, frame_points, is_same_face
from rcn_search.inference.predictor import Predictor
from rcn_search.inference.video.frames import VideoFrame
from rcn_search.inference.video.one_euro import OneEuroFilter

DETECT_EVERY = 10
"""Frames between two searches for faces, since following takes a hundredth of the time."""
MIN_CONFIDENCE = 0.25
"""Mean confidence of the points below which a followed face is lost."""


class FollowedFace(NamedTuple):
    """A face in one frame.

    Attributes:
        number: Number of the face in the video, from 1.
        points: (k, 2) as predicted, in pixels of the frame.
        smooth_points: (k, 2) after the one-euro filter.
        confidence: (k,)
        box: x, y, width, height of its crop.
    """

    number: int
    points: NDArray[np.float32]
    smooth_points: NDArray[np.float32]
    confidence: NDArray[np.float32]
    box: NDArray[np.float32]


@dataclass
class _Track:
    number: int
    box: Box
    points_k2: NDArray[np.float32]
    filter: OneEuroFilter = field(default_factory=OneEuroFilter)


def follow_faces(
    predictor: Predictor, detector: Detector, frames: Iterable[VideoFrame], *, min_face_px: int
) -> Iterator[tuple[VideoFrame, list[FollowedFace]]]:
    """Yield each frame with its faces."""
    tracks: list[_Track] = []
    num_started = 0
    for index, frame in enumerate(frames):
        followed = _follow(predictor, frame, tracks)
        tracks = [track for track, _ in followed]
        if index % DETECT_EVERY == 0 or not tracks:
            found = detect_and_predict(predictor, frame.image, detector, min_face_px)
            for row in range(len(found.points)):
                box = _as_box(found.boxes[row])
                if found.quarter_turns[row] or any(_overlap(box, track.box) for track in tracks):
                    continue
                num_started += 1
                track = _Track(num_started, box, found.points[row])
                tracks.append(track)
                followed.append((track, _face(track, found, row, frame.time_s)))
        yield frame, [face for _, face in followed]


def _follow(predictor: Predictor, frame: VideoFrame, tracks: list[_Track]) -> list[tuple[_Track, FollowedFace]]:
    """Predict the faces of the last frame in this one; those that are lost are left out."""
    framed = [(track, again) for track in tracks if (again := _frame(predictor, frame, track))]
    if not framed:
        return []
    faces = predict_frames(predictor, frame.image, [again for _, again in framed])
    followed = []
    for row, (track, again) in enumerate(framed):
        track.box, track.points_k2 = again.box, faces.points[row]
        after = _frame(predictor, frame, track)
        if faces.confidence[row].mean() >= MIN_CONFIDENCE and after and is_same_face(track.box, after.box):
            followed.append((track, _face(track, faces, row, frame.time_s)))
    return followed


def _frame(predictor: Predictor, frame: VideoFrame, track: _Track) -> Frame | None:
    try:
        return frame_points(track.points_k2, predictor.schema, frame.image.size, predictor.info.crop_px)
    except RcnSearchError:
        return None


def _face(track: _Track, faces: Faces, row: int, time_s: float) -> FollowedFace:
    smooth = track.filter(faces.points[row], time_s, float(faces.boxes[row, 2]))
    return FollowedFace(track.number, faces.points[row], smooth, faces.confidence[row], faces.boxes[row])


def _as_box(box_4: NDArray[np.float32]) -> Box:
    x, y, width, height = (round(float(value)) for value in box_4)
    return Box(x, y, width, height)


def _overlap(one: Box, other: Box) -> bool:
    """Whether two crops show the same face: the center of one lies in the middle of the other."""
    centers = [(box.x + box.width / 2, box.y + box.height / 2) for box in (one, other)]
    return math.dist(*centers) < max(one.width, other.width) / 3


class Jitter:
    """How far points lie from the middle of their neighbors in time, in percent of the crop's side: mean of all."""

    def __init__(self) -> None:
        self._last: dict[int, list[NDArray[np.float32]]] = {}
        self._sum_pct, self._count = 0.0, 0

    def add(self, number: int, points_k2: NDArray[np.float32], face_px: float) -> None:
        """Add the points of a face in the next frame."""
        last = self._last.setdefault(number, [])
        last.append(points_k2)
        if len(last) == 3:
            first, middle, third = last
            self._sum_pct += 100 * float(np.linalg.norm(middle - (first + third) / 2, axis=1).mean()) / face_px
            self._count += 1
            del last[0]

    @property
    def mean_pct(self) -> float:
        """Mean of all frames with both neighbors; NaN without any."""
        return self._sum_pct / self._count if self._count else math.nan
