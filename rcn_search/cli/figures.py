"""``rcn-search figures …``: figures of prediction files, checkpoints and training histories."""

from __future__ import annotations

from typing import Annotated

import typer

from rcn_search.cli.console import command, print_text
from rcn_search.cli.options import DataUri

figures_app = typer.Typer(no_args_is_help=True, help="Draw figures of predictions, models and training runs.")

ProtocolName = Annotated[str, typer.Option("--protocol", help="rcn2016, subpixel or subpixel-NORMALIZER.")]
Out = Annotated[str, typer.Option(metavar="FILE", help="Picture to write: .png, .svg or .pdf.")]
PredictionFiles = Annotated[list[str], typer.Argument(metavar="FILE…", help="Prediction files of the same images.")]


@figures_app.command()
@command
def faces(
    predictions: PredictionFiles,
    data: DataUri,
    out: Out = "faces.png",
    count: Annotated[
        int | None, typer.Option(min=1, max=400, help="Number of faces. Default: 24, or 8 of several files.")
    ] = None,
    images: Annotated[
        list[str] | None, typer.Option("--image", metavar="ID", help="Draw this image; may be repeated.")
    ] = None,
    protocol: ProtocolName = "subpixel",
) -> None:
    """Draw faces from the easiest to the hardest, with a line from each true point to its prediction.

    Several prediction files give a row each, of the same faces; how hard a face is is its mean error over them.

    Example: rcn-search figures faces runs/first/predictions-val.parquet --data data/synthetic --out faces.pdf

    Example: rcn-search figures faces a/predictions-val.parquet b/predictions-val.parquet --data data/mtfl

    The picture shows faces of the data set: check its license before you publish it.
    """
    from rcn_search.data.dataset import open_dataset
    from rcn_search.evaluation.figures.compared_faces import draw_compared_faces
    from rcn_search.evaluation.figures.comparison import compare_methods
    from rcn_search.evaluation.figures.style import check_format

    check_format(out)
    compared = compare_methods(predictions, protocol)
    shown = (
        compared.find_images(images) if images else compared.pick_images(count or (24 if len(predictions) == 1 else 8))
    )
    draw_compared_faces(compared, open_dataset(data), shown, out)
    order = "" if images else ", easiest first"
    print_text(f"{len(shown)} of {compared.num_images:,} faces{order} → {out}")


@figures_app.command()
@command
def ced(
    predictions: PredictionFiles,
    out: Out = "ced.png",
    protocol: ProtocolName = "subpixel",
    threshold_pct: Annotated[float, typer.Option("--threshold", min=0.1, help="End of the error axis, %.")] = 20.0,
) -> None:
    """Draw cumulative error distributions: the share of faces with at most a given error, by method.

    Example: rcn-search figures ced runs/rcn/predictions-aflw.parquet runs/sumnet/predictions-aflw.parquet --out ced.pdf
    """
    from rcn_search.evaluation.figures.comparison import compare_methods
    from rcn_search.evaluation.figures.curves import plot_ced
    from rcn_search.evaluation.figures.style import check_format

    check_format(out)
    compared = compare_methods(predictions, protocol)
    plot_ced(
        compared.errors_by_method(),
        out,
        threshold_pct=threshold_pct,
        title=compared.title,
        measure=str(compared.protocol),
    )
    print_text(f"{len(predictions)} curves → {out}")


@figures_app.command()
@command
def difficulty(
    predictions: PredictionFiles,
    out: Out = "difficulty.png",
    protocol: ProtocolName = "subpixel",
    bins: Annotated[int, typer.Option(min=1, max=100, help="Number of bins of equal size.")] = 10,
) -> None:
    """Draw errors by difficulty: images are binned by their mean error over the methods.

    Example: rcn-search figures difficulty runs/rcn/predictions-aflw.parquet runs/sumnet/predictions-aflw.parquet
    """
    from rcn_search.evaluation.figures.comparison import compare_methods
    from rcn_search.evaluation.figures.difficulty import bin_by_difficulty, plot_difficulty
    from rcn_search.evaluation.figures.style import check_format

    check_format(out)
    compared = compare_methods(predictions, protocol)
    binned = bin_by_difficulty(compared, bins)
    plot_difficulty(compared, binned, out)
    print_text(f"{len(predictions)} methods on {binned.num_images_b.sum():,} images in {bins} bins → {out}")


@figures_app.command()
@command
def confidence(predictions: PredictionFiles, out: Out = "confidence.png", protocol: ProtocolName = "subpixel") -> None:
    """Draw the errors of points against their confidence, with the calibrated radius where the files have one.

    Example: rcn-search figures confidence runs/rcn6/predictions-aflw.parquet --out confidence.pdf
    """
    from rcn_search.evaluation.figures.comparison import compare_methods
    from rcn_search.evaluation.figures.confidence import bin_by_confidence, plot_confidence
    from rcn_search.evaluation.figures.style import check_format

    check_format(out)
    compared = compare_methods(predictions, protocol)
    binned = [bin_by_confidence(file, compared.protocol) for file in compared.files]
    plot_confidence(compared, binned, out)
    print_text(f"{len(binned)} methods on {compared.num_images:,} images → {out}")


@figures_app.command()
@command
def branches(
    checkpoints: Annotated[
        list[str], typer.Argument(metavar="CHECKPOINT…", help="best.safetensors of RCN or SumNet runs.")
    ],
    data: DataUri,
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "val",
    rows: Annotated[
        list[int] | None, typer.Option("--row", help="Index of a face in the split; may be repeated.")
    ] = None,
    points: Annotated[list[str] | None, typer.Option("--point", help="Name of a keypoint; may be repeated.")] = None,
    out: Out = "branches.png",
) -> None:
    """Draw the probability maps of each branch over faces, coarsest branch first, one row for each model.

    Example: rcn-search figures branches runs/sumnet/best.safetensors runs/rcn6/best.safetensors --data data/synthetic

    The picture shows faces of the data set: check its license before you publish it.
    """
    from rcn_search.evaluation.figures.branches import compute_branch_maps, draw_branches, select_faces, select_points
    from rcn_search.evaluation.figures.style import check_format

    check_format(out)
    faces = select_faces(data, split, rows or ())
    maps = compute_branch_maps(checkpoints, faces)
    draw_branches(faces, maps, select_points(faces.schema, points or ()), out)
    print_text(f"{len(maps)} models on {len(faces.rows)} faces of {split} → {out}")


@figures_app.command()
@command
def convergence(
    runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="Folders or URIs of training runs.")],
    out: Out = "convergence.png",
    threshold_pct: Annotated[
        float | None, typer.Option("--threshold", min=0.0, help="Mark where each run first falls below this error, %.")
    ] = None,
) -> None:
    """Draw the validation error against epochs and against training time.

    Example: rcn-search figures convergence runs/rcn6 runs/sumnet6 --threshold 7
    """
    from rcn_search.evaluation.figures import convergence as figure
    from rcn_search.evaluation.figures.style import check_format

    check_format(out)
    curves = figure.read_convergence_curves(runs)
    figure.plot_convergence(curves, out, threshold_pct=threshold_pct)
    for curve in curves:
        reached = "" if threshold_pct is None else f", {figure.describe_first_below(curve, threshold_pct)}"
        print_text(f"{curve.label}: best {curve.error_pct_e.min():.2f} %{reached}")
    print_text(f"{len(curves)} runs → {out}")
