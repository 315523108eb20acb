"""``rcn-search figures …``: pictures to look at, made from prediction files, checkpoints and histories."""

from __future__ import annotations

from typing import Annotated

import typer

from rcn_search.cli.console import command, console
from rcn_search.errors import RcnSearchError

figures_app = typer.Typer(no_args_is_help=True, help="Figures of predictions, models and runs.")

ProtocolName = Annotated[str, typer.Option("--protocol", help="rcn2016 or subpixel.")]
Out = Annotated[str, typer.Option(help="Where it goes: .png, .svg or .pdf.")]
PredictionFiles = Annotated[list[str], typer.Argument(help="Prediction files of the same images.")]

# Torch and matplotlib take a second to import, so each command imports what it draws with.


@figures_app.command()
@command
def faces(
    predictions: Annotated[str, typer.Argument(help="Prediction file of an evaluation.")],
    data: Annotated[str, typer.Option(help="The data set it was made from.")],
    out: Out = "faces.png",
    count: Annotated[int, typer.Option(min=1, max=400, help="How many faces.")] = 24,
    protocol: ProtocolName = "subpixel",
) -> None:
    """Faces from the easiest to the hardest, true and predicted points joined by a line.

    Example: rcn-search figures faces runs/first/predictions-val.parquet --data data/synthetic --out faces.pdf

    Mind the licence of the data: the picture shows its faces.
    """
    import numpy as np
    import torch

    from rcn_search.data.dataset import open_dataset
    from rcn_search.evaluation.figures.comparison import find_protocol
    from rcn_search.evaluation.figures.faces import draw_faces
    from rcn_search.evaluation.figures.style import check_format
    from rcn_search.evaluation.metrics import image_errors
    from rcn_search.evaluation.predictions import read_predictions

    check_format(out)
    read = read_predictions(predictions)
    dataset = open_dataset(data)
    if dataset.manifest.fingerprint != read.meta["fingerprint"]:
        raise RcnSearchError(
            f"{predictions} was made from data {read.meta['fingerprint']}; {data} is {dataset.manifest.fingerprint}"
        )
    errors = image_errors(read, find_protocol(read, protocol))
    kept = np.flatnonzero(errors.is_included_n)
    by_error = kept[np.argsort(errors.error_pct_n[kept], kind="stable")]
    shown = by_error[np.linspace(0, len(by_error) - 1, min(count, len(by_error))).round().astype(int)]
    draw_faces(
        dataset.split(read.meta["split"]).images_at(torch.from_numpy(shown)).numpy(),
        read.true_crop_nk2[shown],
        read.pred_crop_nk2[shown],
        out,
        dataset.manifest.keypoint_schema,
        captions=[f"{errors.error_pct_n[index]:.1f} %" for index in shown],
        num_columns=8 if len(shown) > 8 else None,
    )
    _say(f"{len(shown)} of {len(kept):,} faces, easiest first, in {out}")


@figures_app.command()
@command
def ced(
    predictions: PredictionFiles,
    out: Out = "ced.png",
    protocol: ProtocolName = "subpixel",
    threshold_pct: Annotated[float, typer.Option("--threshold", min=0.1, help="Largest error shown, %.")] = 20.0,
) -> None:
    """Cumulative error distributions: the share of faces with at most a given error, by method.

    Example: rcn-search figures ced runs/rcn/predictions-aflw.parquet runs/sumnet/predictions-aflw.parquet --out ced.pdf
    """
    from rcn_search.evaluation.figures.comparison import compare_methods
    from rcn_search.evaluation.figures.curves import plot_ced
    from rcn_search.evaluation.figures.style import check_format

    check_format(out)
    compared = compare_methods(predictions, protocol)
    plot_ced(compared.errors_by_method(), out, threshold_pct=threshold_pct, title=compared.title, measure=str(compared.protocol))
    _say(f"{len(predictions)} curves in {out}")


@figures_app.command()
@command
def difficulty(
    predictions: PredictionFiles,
    out: Out = "difficulty.png",
    protocol: ProtocolName = "subpixel",
    bins: Annotated[int, typer.Option(min=1, max=100, help="Equal parts of the images, easiest to hardest.")] = 10,
) -> None:
    """Errors by difficulty: images in bins by their mean error over the methods, each method's mean in each bin.

    Example: rcn-search figures difficulty runs/rcn/predictions-aflw.parquet runs/sumnet/predictions-aflw.parquet
    """
    from rcn_search.evaluation.figures.comparison import compare_methods
    from rcn_search.evaluation.figures.difficulty import bin_by_difficulty, plot_difficulty
    from rcn_search.evaluation.figures.style import check_format

    check_format(out)
    compared = compare_methods(predictions, protocol)
    binned = bin_by_difficulty(compared, bins)
    plot_difficulty(compared, binned, out)
    _say(f"{len(predictions)} methods on {binned.num_images_b.sum():,} images in {bins} bins, in {out}")


@figures_app.command()
@command
def branches(
    checkpoints: Annotated[list[str], typer.Argument(help="best.safetensors of runs of SumNet or RCN.")],
    data: Annotated[str, typer.Option(help="Data set with the checkpoints' keypoints.")],
    split: Annotated[str, typer.Option(help="Which images.")] = "val",
    rows: Annotated[
        list[int] | None, typer.Option("--row", help="A face of the split; may stand more than once.")
    ] = None,
    points: Annotated[
        list[str] | None, typer.Option("--point", help="A keypoint, by name; may stand more than once.")
    ] = None,
    out: Out = "branches.png",
) -> None:
    """What each branch contributes: its probability maps over a face, coarsest first; one row for each model.

    Example: rcn-search figures branches runs/sumnet/best.safetensors runs/rcn6/best.safetensors --data data/synthetic

    Mind the licence of the data: the picture shows its faces.
    """
    from rcn_search.evaluation.figures.branches import compute_branch_maps, draw_branches, select_faces, select_points
    from rcn_search.evaluation.figures.style import check_format

    check_format(out)
    faces = select_faces(data, split, rows or ())
    maps = compute_branch_maps(checkpoints, faces)
    draw_branches(faces, maps, select_points(faces.schema, points or ()), out)
    _say(f"{len(maps)} models on {len(faces.rows)} faces of {split}, in {out}")


@figures_app.command()
@command
def convergence(
    runs: Annotated[list[str], typer.Argument(help="Folders or URIs of training runs.")],
    out: Out = "convergence.png",
    at: Annotated[
        float | None, typer.Option(min=0.0, help="Mark where each run first gets below this error, %.")
    ] = None,
) -> None:
    """Validation error against epochs and against training seconds.

    Example: rcn-search figures convergence runs/rcn6 runs/sumnet6 --at 7
    """
    from rcn_search.evaluation.figures.convergence import (
        describe_first_below,
        plot_convergence,
        read_convergence_curves,
    )
    from rcn_search.evaluation.figures.style import check_format

    check_format(out)
    curves = read_convergence_curves(runs)
    plot_convergence(curves, out, threshold_pct=at)
    for curve in curves:
        _say(f"{curve.label}: best {curve.error_pct_e.min():.2f} %{'' if at is None else ', ' + describe_first_below(curve, at)}")
    _say(f"{len(curves)} runs in {out}")


def _say(text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False, markup=False)
