"""``rcn-search study …``: look at a study and take it away, from any machine and while it runs."""

from __future__ import annotations

import time
from typing import Annotated, Literal

import typer

from rcn_search.cli.console import command, console

study_app = typer.Typer(no_args_is_help=True, help="Studies: show, list trials, export; from anywhere, at any time.")

Uri = Annotated[str, typer.Argument(metavar="STUDY", help="Folder or URI of the study.")]
# As in search/describe.py, whose imports would slow down every --help.
State = Literal["", "open", "complete", "pruned", "failed"]
SortKey = Literal["number", "error", "epochs", "time"]
FOLLOW_S = 2.0


@study_app.command()
@command
def show(
    uri: Uri,
    follow: Annotated[bool, typer.Option("--follow", help="Refresh until all trials have ended, or Ctrl-C.")] = False,
) -> None:
    """How a study stands: trials by state, best so far, rungs, time spent and left, the winner by replication.

    Example: rcn-search study show s3://lab/studies/rcn --follow
    """
    from rich.live import Live

    from rcn_search.study.lease import read_lease
    from rcn_search.study.snapshot import open_study
    from rcn_search.study_report.trial_page import study_status

    study = open_study(uri)
    if not follow:
        console.print(study_status(study, read_lease(study.uri)), soft_wrap=True)
        return
    with Live(study_status(study, read_lease(study.uri)), console=console, auto_refresh=False) as live:
        while study.num_remaining:
            started = time.monotonic()
            study = open_study(uri)
            live.update(study_status(study, read_lease(study.uri)), refresh=True)
            # A large study takes longer to read; reading it is never more than a fifth of what goes on.
            time.sleep(max(FOLLOW_S, 4 * (time.monotonic() - started)))


@study_app.command()
@command
def trials(
    uri: Uri,
    state: Annotated[State, typer.Option(help="Only trials in this state.")] = "",
    sort: Annotated[SortKey, typer.Option(help="Lowest error, most epochs or longest time first.")] = "number",
    limit: Annotated[int | None, typer.Option(min=1, help="No more than this many.")] = None,
    format: Annotated[Literal["table", "csv", "json"], typer.Option(help="How to print them.")] = "table",
) -> None:
    """The trials of a study.

    Example: rcn-search study trials studies/rcn --state complete --sort error --limit 10
    """
    from rcn_search.study.selection import choose_trials
    from rcn_search.study.snapshot import open_study
    from rcn_search.study_report.trial_page import list_trials_table, trials_text

    chosen = choose_trials(open_study(uri), state=state, sort=sort, limit=limit)
    if format == "table":
        console.print(list_trials_table(chosen))
        return
    typer.echo(trials_text(chosen, format), nl=False)


@study_app.command()
@command
def best(
    uri: Uri,
    trial: Annotated[int | None, typer.Option(min=0, help="Another trial than the best.")] = None,
    config: Annotated[bool, typer.Option("--config", help="Print its configuration and nothing else.")] = False,
) -> None:
    """The best trial, or the winner by replication: parameters, curve, configuration, checkpoint.

    Example: rcn-search study best studies/rcn --config > best.yaml && rcn-search train best.yaml
    """
    from rcn_search.study.selection import choose_best
    from rcn_search.study.snapshot import open_study
    from rcn_search.study_report.trial_page import config_yaml, replication_status, trial_page

    study = open_study(uri)
    chosen = choose_best(study, trial)
    if config:
        typer.echo(config_yaml(study, chosen), nl=False)
        return
    console.print(trial_page(study, chosen), soft_wrap=True)
    for part in replication_status(study):
        console.print(part, soft_wrap=True)


@study_app.command()
@command
def export(
    uri: Uri,
    to: Annotated[str, typer.Option(metavar="FILE", help="FILE.db, .csv, .parquet or .html; replaced if there.")],
) -> None:
    """Write a study to a file: an Optuna database for optuna-dashboard, tables, or a page of figures.

    Example: rcn-search study export studies/rcn --to rcn.db && optuna-dashboard sqlite:///rcn.db
    """
    from rcn_search.study.snapshot import open_study
    from rcn_search.study_report.export import export as export_study

    for written in export_study(open_study(uri), to):
        console.print(f"→ {written}", soft_wrap=True, highlight=False)
