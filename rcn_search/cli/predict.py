"""``rcn-search predict``: the points of the faces on photographs and videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rcn_search.cli.console import command, console, print_text
from rcn_search.cli.options import AllowTarget, DecoderOption, Denoiser, Device, Model, TtaOption
from rcn_search.cli.predict_inputs import PhotoRequest, predict_photographs, predict_videos
from rcn_search.cli.predict_report import Format
from rcn_search.errors import RcnSearchError
from rcn_search.resources import DEFAULT_MODEL

Inputs = Annotated[
    list[str], typer.Argument(metavar="PHOTO|FOLDER|VIDEO…", help="Photographs, folders of them, and videos.")
]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder for the points, and pictures with the points drawn on them.")
]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        metavar="FORMAT",
        help="json, csv, coco or parquet: the file of points in --out (json by default), or what is printed instead of "
        "a table. leaderboard add reads all but parquet.",
    ),
]
DetectorOption = Annotated[
    str,
    typer.Option(
        help="Face detector: dlib, skimage, one of another package, or none, if each photograph is the crop of a face. "
        "auto: the first that is installed."
    ),
]
BoxFile = Annotated[
    str,
    typer.Option(
        metavar="FILE", help="CSV file with a crop for each face, in place of a detector: image, x, y, width, height."
    ),
]
FaceChoice = Annotated[Literal["all", "largest"], typer.Option(help="Faces to keep of each photograph.")]
MinConfidence = Annotated[
    float, typer.Option(min=0, max=1, help="Drop faces whose points have a lower mean confidence.")
]
MinFace = Annotated[int, typer.Option(min=10, help="Smallest face to look for, in pixels.")]
Pictures = Annotated[bool, typer.Option(help="Draw pictures into --out.")]
Smooth = Annotated[bool, typer.Option(help="Smooth the points of videos over time (one-euro filter).")]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Processes. Default: all cores for many photographs, one with a GPU.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run in --out.")]


@command
def predict_command(
    inputs: Inputs,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    format: FormatOption = None,
    detector: DetectorOption = "auto",
    boxes: BoxFile = "",
    faces: FaceChoice = "all",
    min_confidence: MinConfidence = 0.0,
    min_face: MinFace = 40,
    pictures: Pictures = True,
    smooth: Smooth = True,
    jobs: Jobs = None,
    resume: Resume = False,
    decoder: DecoderOption = None,
    tta: TtaOption = None,
    denoiser: Denoiser = "",
    device: Device = "auto",
    allow_target: AllowTarget = None,
) -> None:
    """Find the faces on photographs and videos, and predict their points.

    Example: rcn-search predict photo.jpg --out points

    Example: rcn-search predict party/ --model runs/rcn6 --out points --format csv
    """
    from rcn_search.inference.config import InferenceConfig
    from rcn_search.inference.photographs.predict_photos import PICTURES, PredictOptions
    from rcn_search.inference.photographs.record import Selection
    from rcn_search.inference.predictor import load
    from rcn_search.inference.video.frames import VIDEO_SUFFIXES
    from rcn_search.inference.weights import find_weights

    if out is None and (format == "parquet" or resume):
        raise RcnSearchError("Parquet and --resume need a folder: give --out DIR")
    weights = find_weights(model)
    inference = InferenceConfig.from_record(
        {}, decoder=decoder, tta=tta or (), denoiser_uri=denoiser or None, device=device
    )
    predictor = load(weights, inference)
    options = PredictOptions(
        detector=detector,
        min_face_px=min_face,
        selection=Selection(faces=faces, min_confidence=min_confidence),
        pictures=out / PICTURES if out and pictures else None,
    )
    videos = [name for name in inputs if Path(name).suffix.lower() in VIDEO_SUFFIXES]
    if videos:
        predict_videos(videos, predictor, options, out=out, smooth=smooth)
    if photos := [name for name in inputs if name not in videos]:
        request = PhotoRequest(photos, boxes, weights, inference, out, format, jobs, resume)
        predict_photographs(predictor, options, request)
    if predictor.radius_table is None and console.is_terminal:
        print_text("no radius of the points: calibrate the model for these options by rcn-search evaluate --calibrate")
