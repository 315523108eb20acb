"""``rcn-search weights …``: the weights that come with rcn-search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown
from rich.table import Table

from rcn_search.cli.console import command, console, print_text, progress, stop_on_signal
from rcn_search.cli.options import Overrides
from rcn_search.errors import RcnSearchError
from rcn_search.training.epoch_report import EpochReport

weights_app = typer.Typer(no_args_is_help=True, help="List, show and verify the packaged weights, or make them.")

SCHEMAS = {"rcn5-drawn": "five", "rcn68-drawn": "ibug68"}
"""Weights that are made from the configuration of the same name, and the points of their faces."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of packaged weights.")]
Into = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the weights. Default: that of the package.")]
Measured = Annotated[
    list[str] | None,
    typer.Option(
        "--measure",
        metavar="DATA:SPLIT",
        help="Also measure on a test split, once, as in data/mtfl:aflw; may be repeated.",
    ),
]


@weights_app.command("list")
@command
def list_command() -> None:
    """List the packaged weights, with size, license and error on drawn test faces.

    Example: rcn-search weights list
    """
    from rcn_search.evaluation.packaged_weights import read_card
    from rcn_search.inference.weights import packaged_names

    if not (names := packaged_names()):
        print_text("no weights are packaged; 'rcn-search weights train' makes them")
        return
    table = Table("name", "points", "parameters", "MB", "license", "error %", "on", box=None, pad_edge=False)
    for name in names:
        card = read_card(name)
        score = card.scores[0]
        where = f"{score.protocol.dataset} {score.protocol.subset}, {score.protocol.name}"
        cells = [name, str(len(card.points)), f"{card.num_params:,}", f"{card.num_bytes / 1e6:.2f}", card.license]
        table.add_row(*cells, f"{score.error.pct:.2f}", where)
    console.print(table)


@weights_app.command()
@command
def show(name: Name) -> None:
    """Show the model card of packaged weights: data, use, limits and errors.

    Example: rcn-search weights show rcn5-drawn
    """
    from rcn_search.evaluation.model_card import render_card
    from rcn_search.evaluation.packaged_weights import read_card

    text = render_card(read_card(name))
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        print_text(text)


@weights_app.command()
@command
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME…]", help="By default all of them.")] = None,
) -> None:
    """Check that packaged weights are those of their model card, readable, finite and calibrated.

    Example: rcn-search weights verify
    """
    from rcn_search.evaluation.packaged_weights import verify_weights
    from rcn_search.inference.weights import packaged_names

    checked = names or packaged_names()
    problems = [problem for name in checked for problem in verify_weights(name)]
    if problems:
        raise RcnSearchError("\n  ".join([f"{len(problems)} problems of {len(checked)} packaged weights:", *problems]))
    print_text(f"{len(checked)} packaged weights are as they were packaged")


@weights_app.command()
@command
def train(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"{' or '.join(SCHEMAS)}.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the work. Default: runs/NAME.")] = None,
    into: Into = None,
    faces: Annotated[int, typer.Option(min=1, help="Training faces to draw.")] = 40_000,
    held_out: Annotated[int, typer.Option(min=9, help="Validation faces to draw, and as many test faces.")] = 4_000,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings, of which the best is packed.")] = 3,
    measure: Measured = None,
    overrides: Overrides = None,
) -> None:
    """Make packaged weights: draw faces, train, choose on drawn faces, calibrate, measure, and write the model card.

    The same command resumes.

    Example: rcn-search weights train rcn5-drawn --measure data/mtfl:aflw --measure data/afw-68:afw-68
    """
    from rcn_search.config.loading import load_train_config
    from rcn_search.reproduce.packaged_weights import Progress, WeightsRequest, make_weights
    from rcn_search.resources import weights_folder

    if name not in SCHEMAS:
        raise RcnSearchError(f"there is no recipe for {name!r}, only for {' and '.join(SCHEMAS)}")
    config = load_train_config(name, overrides or ())
    request = WeightsRequest(
        name=name,
        config=config,
        schema=SCHEMAS[name],
        out=out or Path("runs") / name,
        into=into or weights_folder(),
        num_train=faces,
        num_val=held_out,
        num_test=held_out,
        num_seeds=seeds,
        measured=[_split_of(text) for text in measure or ()],
    )
    with stop_on_signal() as should_stop, progress("drawing", "faces") as on_faces:
        watched = Progress(
            on_text=print_text,
            on_faces=on_faces,
            on_epoch=lambda report: print_text(_epoch_line(report, config.schedule.epochs)),
            should_stop=should_stop,
        )
        card, paths = make_weights(request, watched)
    for score in card.scores:
        print_text(f"{score.protocol.dataset} {score.protocol.subset}, {score.protocol.name}: {score.error.pct:.2f} %")
    for path in paths:
        print_text(f"→ {path}")


def _epoch_line(report: EpochReport, num_epochs: int) -> str:
    error = "not validated" if report.val_error_pct is None else f"validation error {report.val_error_pct:.2f} %"
    return f"epoch {report.epoch} of {num_epochs}: {error}"


def _split_of(text: str) -> tuple[str, str]:
    data, colon, split = text.rpartition(":")
    if not (data and colon and split) or "/" in split:
        raise RcnSearchError(f"--measure {text!r} must name a data set and its test split, as in data/mtfl:aflw")
    return data, split
