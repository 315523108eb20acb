"""``rcn-search predict``: the points of the faces on photographs."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from rcn_search.cli.console import command, print_text, progress
from rcn_search.cli.options import DecoderOption, Denoiser, Device, TtaOption
from rcn_search.cli.predict_report import Format, report
from rcn_search.errors import RcnSearchError

Inputs = Annotated[list[str], typer.Argument(metavar="PHOTO|FOLDER…", help="Photographs, or folders of them.")]
Model = Annotated[
    str,
    typer.Option("--model", "-m", metavar="MODEL", help="Packaged model, folder of a run, checkpoint, exported file."),
]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder for the points, and pictures with the points drawn on them.")
]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        help="File of points in --out (json by default), or what is printed instead of a table. leaderboard add reads "
        "json, csv and coco."
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
    str, typer.Option(metavar="FILE", help="CSV file of the crops of faces, image,x,y,width,height; no detector.")
]
FaceChoice = Annotated[Literal["all", "largest"], typer.Option(help="Faces to keep of each photograph.")]
MinConfidence = Annotated[
    float, typer.Option(min=0, max=1, help="Drop faces whose points have a lower mean confidence.")
]
MinFace = Annotated[int, typer.Option(min=10, help="Smallest face to look for, in pixels.")]
Pictures = Annotated[bool, typer.Option(help="Draw pictures into --out.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Processes. Default: all cores for many photographs, one with a GPU.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run in --out.")]


@command
def predict_command(
    inputs: Inputs,
    model: Model,
    out: Out = None,
    format: FormatOption = None,
    detector: DetectorOption = "auto",
    boxes: BoxFile = "",
    faces: FaceChoice = "all",
    min_confidence: MinConfidence = 0.0,
    min_face: MinFace = 40,
    pictures: Pictures = True,
    jobs: Jobs = None,
    resume: Resume = False,
    decoder: DecoderOption = None,
    tta: TtaOption = None,
    denoiser: Denoiser = "",
    device: Device = "auto",
) -> None:
    """Find the faces on photographs and predict their points.

    Example: rcn-search predict photo.jpg party/ --model runs/rcn6 --out points --format csv
    """
    from rcn_search.inference.config import InferenceConfig
    from rcn_search.inference.photographs import predict_photos as photographs
    from rcn_search.inference.photographs.boxes import match_boxes, read_boxes
    from rcn_search.inference.photographs.journal import Journal
    from rcn_search.inference.photographs.listing import list_photos
    from rcn_search.inference.photographs.record import Selection, describe_run
    from rcn_search.inference.predictor import load
    from rcn_search.inference.weights import find_weights

    if out is None and (format == "parquet" or resume):
        raise RcnSearchError("Parquet and --resume need a folder: give --out DIR")
    listed, weights = list_photos(inputs, out=out), find_weights(model)
    inference = InferenceConfig.from_record(
        {}, decoder=decoder, tta=tta or (), denoiser_uri=denoiser or None, device=device
    )
    predictor = load(weights, inference)
    options = photographs.PredictOptions(
        detector=detector,
        min_face_px=min_face,
        boxes=match_boxes(read_boxes(boxes), listed.photos) if boxes else None,
        selection=Selection(faces=faces, min_confidence=min_confidence),
        pictures=out / photographs.PICTURES if out and pictures else None,
    )
    predict = photographs.PhotoPredictor(predictor, options)
    with ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        journal = Journal(folder, describe_run(predictor, options.record()), resume=resume)
        photos = [photo for photo in listed.photos if photo.name not in journal.done]
        if journal.done:
            print_text(f"resumed after {len(listed.photos) - len(photos):,} of {len(listed.photos):,} photographs")
        num_jobs = jobs or photographs.choose_jobs(len(photos), predictor.inference.device)
        records = photographs.predict_photos(photos, predict, weights=weights, inference=inference, num_jobs=num_jobs)
        with progress("predicting", "photographs") as on_photos:
            for number, record in enumerate(records, start=1):
                journal.append(record)
                on_photos(number, len(photos))
        if not report(journal, predictor.schema, out, format, num_others=listed.num_others):
            raise typer.Exit(1)
