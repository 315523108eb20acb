"""``rcn-search reproduce``: train a table of the paper again and compare with the published errors."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import typer

from rcn_search.cli.console import command, console, errors, progress
from rcn_search.cli.options import Leaderboard, StudyOverrides

# Repeated from `rcn_search.reproduce.paper_tables`, whose import would slow down every --help.
TableName = Literal["table1", "table2", "table3", "table4", "convergence", "ablations", "ablations-300w"]


@command
def reproduce_command(
    table: Annotated[
        TableName, typer.Argument(metavar="TABLE", help=f"Table of the paper: {', '.join(get_args(TableName))}.")
    ],
    data: Annotated[
        str, typer.Option(metavar="URI", help="Data set to train on. Default: that of the study file.")
    ] = "",
    afw: Annotated[str, typer.Option(metavar="URI", help="Imported AFW, to evaluate on as well.")] = "",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of each row. Default: as in the study file.")
    ] = None,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Train and evaluate nothing; print the results that exist.")
    ] = False,
    format: Annotated[Literal["table", "markdown", "csv"], typer.Option(help="How to print the results.")] = "table",
    study: Annotated[str, typer.Option(metavar="URI", help="Folder or URI of the study. Default: studies/TABLE.")] = "",
    study_file: Annotated[
        str, typer.Option(metavar="STUDY.yaml", help="Study file of the rows. Default: the one of the package.")
    ] = "",
    overrides: StudyOverrides = None,
    leaderboard: Leaderboard = "",
) -> None:
    """Train the rows of a table of the paper, evaluate each once on each test split, and print the paper's beside ours.

    The same command resumes where it stopped: nothing is trained or evaluated twice.

    Example: rcn-search reproduce table2 --data data/mtfl --epochs 10
    """
    from rcn_search.leaderboard.location import resolve_leaderboard
    from rcn_search.reproduce.run import ReproductionRequest, compare_with_paper, open_table, train_table

    request = ReproductionRequest(
        table=table,
        study_file=study_file,
        overrides=overrides or (),
        epochs=epochs,
        data_uri=data,
        afw_uri=afw,
        study_uri=study,
    )
    leaderboard_uri = None if report_only else resolve_leaderboard(leaderboard)
    if report_only:
        reproduction = open_table(request)
    else:
        log = console if format == "table" else errors
        reproduction = train_table(request, leaderboard=leaderboard_uri, console=log)
    with progress("evaluating", "faces") as on_images:
        result = compare_with_paper(reproduction, leaderboard=leaderboard_uri, on_images=on_images)
    if format == "table":
        result.print(console)
        return
    typer.echo(result.render(format), nl=False)
    for remark in result.remarks if format == "csv" else ():
        errors.print(remark, markup=False, highlight=False, soft_wrap=True)
