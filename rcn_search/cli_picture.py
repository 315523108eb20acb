"""``rcn-search picture …``: PNGs to look at, made from prediction files."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
import typer

from rcn_search.data.dataset import open_dataset
from rcn_search.evaluation.metrics import image_errors
from rcn_search.evaluation.plots import draw_faces, plot_ced
from rcn_search.evaluation.predictions import Predictions, read_predictions
from rcn_search.evaluation.protocol import Protocol, named_protocol
from rcn_search.terminal import command, console

picture_app = typer.Typer(no_args_is_help=True, help="Pictures of predictions.")

ProtocolName = Annotated[str, typer.Option("--protocol", help="rcn2016 or subpixel.")]


@picture_app.command()
@command
def faces(
    predictions: Annotated[str, typer.Argument(help="Prediction file of an evaluation.")],
    data: Annotated[str, typer.Option(help="The data set it was made from.")],
    out: Annotated[str, typer.Option(help="Where the PNG goes.")] = "faces.png",
    count: Annotated[int, typer.Option(min=1, max=400, help="How many faces.")] = 24,
    protocol: ProtocolName = "subpixel",
) -> None:
    """Faces from the easiest to the hardest, true and predicted points joined by a line.

    Example: rcn-search picture faces runs/first/predictions-val.parquet --data data/synthetic

    Mind the licence of the data: the picture shows its faces.
    """
    read = read_predictions(predictions)
    dataset = open_dataset(data)
    if dataset.manifest.fingerprint != read.meta["fingerprint"]:
        raise ValueError(
            f"{predictions} was made from data {read.meta['fingerprint']}; {data} is {dataset.manifest.fingerprint}"
        )
    errors = image_errors(read, _protocol(protocol, read))
    kept = np.flatnonzero(errors.kept_n)
    by_error = kept[np.argsort(errors.error_pct_n[kept], kind="stable")]
    shown = by_error[np.linspace(0, len(by_error) - 1, min(count, len(by_error))).round().astype(int)]
    draw_faces(
        dataset.split(read.meta["split"]).images_at(torch.from_numpy(shown)).numpy(),
        read.true_crop_nk2[shown],
        read.pred_crop_nk2[shown],
        out,
        dataset.manifest.point_schema,
        captions=[f"{errors.error_pct_n[index]:.1f} %" for index in shown],
        num_columns=8 if len(shown) > 8 else None,
    )
    console.print(f"{len(shown)} of {len(kept):,} faces, easiest first, in {out}", soft_wrap=True, highlight=False)


@picture_app.command()
@command
def ced(
    predictions: Annotated[list[str], typer.Argument(help="Prediction files of the same images.")],
    out: Annotated[str, typer.Option(help="Where the PNG goes.")] = "ced.png",
    protocol: ProtocolName = "subpixel",
    threshold_pct: Annotated[float, typer.Option("--threshold", min=0.1, help="Largest error shown, %.")] = 20.0,
) -> None:
    """Cumulative error distributions: the share of faces with at most a given error, by method."""
    curves = {}
    subsets = set()
    for uri in predictions:
        read = read_predictions(uri)
        asked = _protocol(protocol, read)
        errors = image_errors(read, asked)
        subsets.add((read.meta["fingerprint"], read.meta["split"]))
        name = read.meta["method"] if read.meta["method"] not in curves else f"{read.meta['method']} ({uri})"
        curves[name] = errors.error_pct_n[errors.kept_n]
    if len(subsets) > 1:
        raise ValueError("the prediction files are of different images; their curves cannot be compared")
    plot_ced(curves, out, threshold_pct=threshold_pct)
    console.print(f"{len(curves)} curves in {out}", soft_wrap=True, highlight=False)


def _protocol(name: str, predictions: Predictions) -> Protocol:
    meta = predictions.meta
    return named_protocol(name, meta["dataset"], meta["subset"], meta["keypoints"])
