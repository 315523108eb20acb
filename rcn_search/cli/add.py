"""``rcn-search leaderboard add``: show predictions beside the truth, ask, then count, score and add them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from rcn_search.cli.console import EXIT_ERROR, command, console, print_text, score_table
from rcn_search.cli.entries import print_test_evaluations, resolve_writable
from rcn_search.cli.options import DataUri, Leaderboard
from rcn_search.errors import RcnSearchError

if TYPE_CHECKING:
    from rcn_search.leaderboard.external.add import CheckedPredictions

_MAX_POINTS = 10


PredictionFile = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="Prediction file: Parquet of this project, CSV, SPIGA's JSON or COCO keypoints."
    ),
]
Format = Annotated[Literal["csv", "spiga", "coco"] | None, typer.Option(help="Detected from the file by default.")]
Normalizers = Annotated[
    list[str] | None, typer.Option(help="Also score with this normalizer, as in outer-eye. May be repeated.")
]
PixelOffset = Annotated[
    float,
    typer.Option(
        help="Added to each x and y. Here pixel i covers i to i + 1: give 0.5 if the center of the first pixel is 0, "
        "-0.5 if it is 1."
    ),
]
Hardware = Annotated[str, typer.Option(help="Hardware that the predictions were computed on.")]
NumParams = Annotated[int | None, typer.Option(min=1, help="Parameters of the model.")]
MultiplyAdds = Annotated[int | None, typer.Option(min=1, help="Multiply-adds of the model for one face.")]
Latency = Annotated[float | None, typer.Option(help="Time for one face, ms.")]
Source = Annotated[str, typer.Option(help="Paper or repository that the predictions come from.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask after the preview. Needed where there is no terminal.")]
Force = Annotated[bool, typer.Option("--force", help="Add predictions with an implausible error, too.")]


@command
def add_command(
    predictions: PredictionFile,
    method: Annotated[str, typer.Option(help="Name on the leaderboard.")],
    data: DataUri,
    split: Annotated[str, typer.Option(help="Split of the data set.")],
    format: Format = None,
    normalizer: Normalizers = None,
    pixel_offset: PixelOffset = 0.0,
    hardware: Hardware = "not stated",
    num_params: NumParams = None,
    multiply_adds: MultiplyAdds = None,
    latency_ms: Latency = None,
    source: Source = "",
    yes: Yes = False,
    force: Force = False,
    leaderboard: Leaderboard = "",
) -> None:
    """Show predictions of any system beside our ground truth, then score and add them.

    The preview shows how many images have a prediction, and the points of one picture. Nothing is counted or added
    before it is confirmed. Evaluations of a test split are counted.

    Example: rcn-search leaderboard add spiga.json --method SPIGA --data data/300w --split full --normalizer outer-eye
    """
    from rcn_search.leaderboard.external.add import ModelFacts, add_predictions, check_predictions

    leaderboard_uri = resolve_writable(leaderboard)
    checked = check_predictions(
        predictions,
        data,
        split,
        method=method,
        file_format=format,
        normalizers=normalizer or (),
        pixel_offset=pixel_offset,
        model=ModelFacts(
            hardware=hardware,
            num_params=num_params,
            multiply_adds=multiply_adds,
            latency_ms=latency_ms,
            source=source or None,
        ),
    )
    _print_preview(checked)
    if checked.implausible and not force:
        raise RcnSearchError(f"nothing was counted or added: {checked.implausible}")
    if not yes:
        _ask(checked)
    added = add_predictions(checked, leaderboard_uri, force=force)
    console.print(score_table(added.scores))
    print_test_evaluations(added.num_test_evaluations)
    for uri in added.entry_uris:
        print_text(f"→ {uri}")


def _print_preview(checked: CheckedPredictions) -> None:
    """Print what joined, and one picture's points beside the true ones."""
    preview = checked.preview
    print_text(f"{checked.num_joined:,} of {len(checked.predictions):,} images have a prediction")
    for note in checked.notes:
        print_text(note)
    print_text(f"One picture, {preview.image_id}, in pixels of the original image:")
    table = Table("point", "true x", "y", "predicted x", "y", "distance", box=None, pad_edge=False)
    for keypoint, true_px, predicted_px, distance_px in preview.points[:_MAX_POINTS]:
        table.add_row(keypoint, *(f"{number:.2f}" for number in (*true_px, *predicted_px, distance_px)))
    console.print(table)
    if (num_more := len(preview.points) - _MAX_POINTS) > 0:
        print_text(f"and {num_more} more points")
    print_text(f"median distance {preview.median_px:.2f} px, {preview.median_pct:.2f} % of {preview.normalizer}")
    if preview.hint:
        print_text(f"hint: {preview.hint}", style="yellow")


def _ask(checked: CheckedPredictions) -> None:
    """Ask whether to continue; without a terminal, nobody can answer."""
    consequence = "Count a test evaluation and add entries" if checked.is_test_split else "Add entries"
    if not is_terminal():
        raise RcnSearchError("nothing was counted or added; look at the preview above, then repeat it with --yes")
    if not typer.confirm(f"{consequence}? Neither can be undone."):
        print_text("nothing was counted or added")
        raise typer.Exit(EXIT_ERROR)


def is_terminal() -> bool:
    """Whether somebody can answer."""
    return sys.stdin.isatty() and console.is_terminal
