"""``rcn-search reproduce``: a table of the paper, re-run."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import typer

from rcn_search.cli.console import command, console, errors, progress
from rcn_search.cli.options import Leaderboard

# As in reproduce/paper.py and reproduce/sheet.py, whose imports would slow down every --help.
TableName = Literal["table1", "table2", "table3", "table4", "convergence"]
Format = Literal["table", "markdown", "csv"]


@command
def reproduce_command(
    table: Annotated[TableName, typer.Argument(metavar="|".join(get_args(TableName)), help="Which of the paper's.")],
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of each row; by default as its file in search_spaces/ says.")
    ] = None,
    data: Annotated[str, typer.Option(help="Data set, instead of that of the file.")] = "",
    afw: Annotated[str, typer.Option(help="AFW, imported: scored too.")] = "",
    study: Annotated[str, typer.Option(help="Folder or URI of the study; studies/TABLE by default.")] = "",
    show: Annotated[bool, typer.Option("--show", help="Train and score nothing: print what is there.")] = False,
    format: Annotated[Format, typer.Option(help="How to print the results.")] = "table",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the study, as in budget.max_concurrent=1."),
    ] = None,
    space: Annotated[str, typer.Option(metavar="FILE.yaml", help="Another study file of these rows.")] = "",
    leaderboard: Leaderboard = "",
) -> None:
    """Train the rows of a table of the paper, score each once on each test split, and print paper against ours.

    The same line goes on where it stopped; what is trained or scored is not trained or scored again.

    Example: rcn-search reproduce table2 --data data/mtfl --epochs 10
    """
    from rcn_search.leaderboard.location import resolve_leaderboard
    from rcn_search.reproduce.run import compare, train_rows

    place = lambda: resolve_leaderboard(leaderboard)  # noqa: E731
    rerun = train_rows(
        table,
        space_uri=space,
        overrides=overrides or (),
        epochs=epochs,
        data_uri=data,
        afw_uri=afw,
        study_uri=study,
        board=place,
        console=console if format == "table" else errors,
        run=not show,
    )
    with progress("scoring", "faces") as on_images:
        sheet = compare(rerun, board=None if show else place, on_images=on_images)
    if format == "table":
        sheet.print(console)
        return
    typer.echo(sheet.render(format), nl=False)
    for remark in sheet.remarks if format == "csv" else ():
        errors.print(remark, markup=False, highlight=False, soft_wrap=True)
