"""The two kinds of input of ``rcn-search predict``: photographs, and videos."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from rcn_search.cli.console import print_text, progress
from rcn_search.cli.predict_report import Format, report
from rcn_search.errors import RcnSearchError

if TYPE_CHECKING:
    from rcn_search.inference.config import InferenceConfig
    from rcn_search.inference.photographs.predict_photos import PredictOptions
    from rcn_search.inference.predictor import Predictor


class PhotoRequest(NamedTuple):
    """What is asked for photographs, besides the options of `PredictOptions`."""

    inputs: list[str]
    boxes: str
    weights: str
    inference: InferenceConfig
    out: Path | None
    format: Format | None
    jobs: int | None
    resume: bool


def predict_photographs(predictor: Predictor, options: PredictOptions, request: PhotoRequest) -> None:
    """Predict photographs, keep a journal, and report."""
    from rcn_search.inference.photographs.boxes import match_boxes, read_boxes
    from rcn_search.inference.photographs.journal import Journal
    from rcn_search.inference.photographs.listing import list_photos
    from rcn_search.inference.photographs.predict_photos import PhotoPredictor, choose_jobs, predict_photos
    from rcn_search.inference.photographs.record import describe_run

    listed = list_photos(request.inputs, out=request.out)
    if request.boxes:
        options = replace(options, boxes=match_boxes(read_boxes(request.boxes), listed.photos))
    predict = PhotoPredictor(predictor, options)
    with ExitStack() as stack:
        folder = request.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        journal = Journal(folder, describe_run(predictor, options.record()), resume=request.resume)
        photos = [photo for photo in listed.photos if photo.name not in journal.done]
        if journal.done:
            print_text(f"resumed after {len(listed.photos) - len(photos):,} of {len(listed.photos):,} photographs")
        records = predict_photos(
            photos,
            predict,
            weights=request.weights,
            inference=request.inference,
            num_jobs=request.jobs or choose_jobs(len(photos), predictor.inference.device),
        )
        with progress("predicting", "photographs") as on_photos:
            for number, record in enumerate(records, start=1):
                journal.append(record)
                on_photos(number, len(photos))
        if not report(journal, predictor.schema, request.out, request.format, num_others=listed.num_others):
            raise typer.Exit(1)


def predict_videos(
    videos: Sequence[str], predictor: Predictor, options: PredictOptions, *, out: Path | None, smooth: bool
) -> None:
    """Predict videos one after the other, and say for each how much its points jitter."""
    from rcn_search.inference.detectors import NO_DETECTOR, make_detector
    from rcn_search.inference.video.predict_video import predict_video

    if options.detector == NO_DETECTOR:
        raise RcnSearchError("the faces of videos are found by a detector: --detector none is for photographs")
    if out and out.exists() and not out.is_dir():
        raise RcnSearchError(f"{out} is a file; --out needs a folder")
    detector = make_detector(options.detector)
    for path in videos:
        with progress(Path(path).name, "frames") as on_frames:
            found = predict_video(
                predictor,
                path,
                detector,
                out=out,
                min_face_px=options.min_face_px,
                smooth=smooth,
                pictures=options.pictures is not None,
                on_frames=on_frames,
            )
        print_text(
            f"{path}: {found.num_frames:,} frames, {found.num_without:,} without a face; {found.num_faces:,} faces; "
            f"jitter {found.jitter_pct:.3f} % of the crop's side, smoothed {found.smooth_jitter_pct:.3f} %"
        )
        for written in found.paths:
            print_text(f"→ {written}")
