"""Predict the faces of a video: points of every frame as CSV, and the video with the points drawn on it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from rcn_search.errors import RcnSearchError
from rcn_search.inference.detectors.detector import Detector
from rcn_search.inference.photographs.drawing import draw_faces
from rcn_search.inference.photographs.record import FaceRecord
from rcn_search.inference.predictor import Predictor
from rcn_search.inference.video.follow_faces import FollowedFace, Jitter, follow_faces
from rcn_search.inference.video.frames import VideoFrame, VideoWriter, open_video

FrameWriter = Callable[[int, VideoFrame, list[FollowedFace]], None]


class VideoSummary(NamedTuple):
    """What was found in a video.

    Attributes:
        num_frames: Number of frames.
        num_faces: Number of different faces.
        num_without: Number of frames without a face.
        jitter_pct: Jitter of the predicted points in percent of the crop's side, see `Jitter`.
        smooth_jitter_pct: Jitter of the smoothed points.
        paths: Files that were written.
    """

    num_frames: int
    num_faces: int
    num_without: int
    jitter_pct: float
    smooth_jitter_pct: float
    paths: list[Path]


def predict_video(
    predictor: Predictor,
    path: str,
    detector: Detector,
    *,
    out: Path | None,
    min_face_px: int,
    smooth: bool = True,
    pictures: bool = True,
    on_frames: Callable[[int, int], None] = lambda done, total: None,
) -> VideoSummary:
    """Predict every frame; nothing but one frame is in memory.

    Args:
        predictor: Network.
        path: Video file.
        detector: Finds faces that are not followed yet.
        out: Folder for ``NAME.csv`` and ``NAME.mp4``; None: nothing is written.
        min_face_px: Side of the smallest face that the detector looks for.
        smooth: Write and draw the points after the one-euro filter.
        pictures: Write the video with points.
        on_frames: Called with (frames done, 0), since videos do not say how many they have.

    Raises:
        RcnSearchError: The file is no video, or has no frames.
    """
    jitter, smooth_jitter = Jitter(), Jitter()
    numbers: set[int] = set()
    num_frames = num_without = 0
    paths: list[Path] = []
    with ExitStack() as stack:
        rate, frames = stack.enter_context(open_video(path))
        write: list[FrameWriter] = []
        if out:
            paths.append(out / f"{Path(path).name}.csv")
            write.append(_csv_writer(stack, paths[0], predictor))
            if pictures:
                paths.append(out / f"{Path(path).name}.mp4")
                write.append(_picture_writer(stack, paths[1], predictor, rate))
        for frame, faces in follow_faces(predictor, detector, frames, min_face_px=min_face_px):
            for face in faces:
                numbers.add(face.number)
                jitter.add(face.number, face.points, float(face.box[2]))
                smooth_jitter.add(face.number, face.smooth_points, float(face.box[2]))
            kept = [face if smooth else face._replace(smooth_points=face.points) for face in faces]
            for function in write:
                function(num_frames, frame, kept)
            num_frames += 1
            num_without += not faces
            on_frames(num_frames, 0)
    if not num_frames:
        raise RcnSearchError(f"{path} has no frames that can be decoded")
    return VideoSummary(num_frames, len(numbers), num_without, jitter.mean_pct, smooth_jitter.mean_pct, paths)


def _csv_writer(stack: ExitStack, path: Path, predictor: Predictor) -> FrameWriter:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = csv.writer(stack.enter_context(path.open("w", encoding="utf-8", newline="\n")), lineterminator="\n")
    numbers = range(1, predictor.schema.num_points + 1)
    coordinates = [f"{axis}{k}" for k in numbers for axis in "xy"]
    writer.writerow(["frame", "time_s", "face", *coordinates, *(f"confidence{k}" for k in numbers)])

    def write(number: int, frame: VideoFrame, faces: list[FollowedFace]) -> None:
        for face in faces:
            points = [f"{value:.2f}" for value in face.smooth_points.reshape(-1)]
            confidence = [f"{value:.3f}" for value in face.confidence]
            writer.writerow([number, f"{frame.time_s:.4f}", face.number, *points, *confidence])

    return write


def _picture_writer(stack: ExitStack, path: Path, predictor: Predictor, rate: float) -> FrameWriter:
    writer = VideoWriter(path, rate)
    stack.callback(writer.close)

    def write(number: int, frame: VideoFrame, faces: list[FollowedFace]) -> None:
        records = [
            FaceRecord(
                box=tuple(map(float, face.box)),
                score=None,
                points=[(float(x), float(y)) for x, y in face.smooth_points],
                confidence=face.confidence.tolist(),
                radius=None,
            )
            for face in faces
        ]
        writer.write(draw_faces(frame.image, records, predictor.schema))

    return write
