"""``rcn-search study …``: check study files; show and export studies, from any machine, also while they run."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rcn_search.cli.console import command, console, print_text, progress, warn
from rcn_search.cli.options import StudyOverrides
from rcn_search.errors import RcnSearchError, list_first

if TYPE_CHECKING:
    from rcn_search.study.study import Study

study_app = typer.Typer(
    no_args_is_help=True, help="Check study files; show, list and export studies, also running ones."
)

StudyUri = Annotated[str, typer.Argument(metavar="STUDY", help="Folder or URI of the study.")]
# As in study/trial.py and study/selection.py, whose imports would slow down every --help.
State = Literal["", "open", "complete", "pruned", "failed"]
SortKey = Literal["number", "error", "epochs", "time"]
FOLLOW_INTERVAL_S = 2.0
_DEFAULT_POINTS = 5
_PROGRESS_AFTER_S = 2.0


@study_app.command()
@command
def check(
    study_file: Annotated[str, typer.Argument(metavar="STUDY.yaml", help="Study file of a search.")],
    data: Annotated[str, typer.Option(metavar="URI", help="Data set, in place of base.data.uri.")] = "",
    overrides: StudyOverrides = None,
    settings: Annotated[int, typer.Option(min=1, help="Number of settings to draw.")] = 1_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
) -> None:
    """Check a study file: draw 1,000 settings, build their networks, and show the costs and how often keys are drawn.

    Example: rcn-search study check search_spaces/rcn.yaml --data data/mtfl
    """
    from rcn_search.search.custom_networks import allow_networks
    from rcn_search.study.loading import load_study_config
    from rcn_search.study.objectives import num_points
    from rcn_search.study_report.space_preview import preview_space, print_preview

    config = load_study_config(study_file, overrides=overrides or (), data_uri=data)
    if config.runs:
        raise RcnSearchError(f"{study_file} is a fixed-run study, in which nothing is drawn; its runs are all legal")
    allow_networks(config)
    uri = config.base_config.data.uri
    try:
        points = num_points(uri)
    except (OSError, RcnSearchError):
        points = _DEFAULT_POINTS
        console.print(f"no data set at {uri}: networks are built for {points} points", style="yellow", soft_wrap=True)
    with ExitStack() as stack:
        preview = preview_space(
            config, num_points=points, num_settings=settings, seed=seed, on_setting=_late_progress(stack)
        )
    print_preview(console, config, preview)


@study_app.command()
@command
def status(
    uri: StudyUri,
    follow: Annotated[bool, typer.Option("--follow", help="Refresh until all trials have ended, or Ctrl-C.")] = False,
) -> None:
    """Show trials by state, the best one, the rungs, the time spent and left, and the winner by replication.

    Example: rcn-search study status s3://lab/studies/rcn --follow
    """
    from rich.live import Live

    from rcn_search.study.snapshot import open_study
    from rcn_search.study_report.status import study_status

    study = open_study(uri)
    if not follow:
        console.print(study_status(study), crop=False)
        _warn_of_damage(study)
        return
    with Live(study_status(study), console=console, auto_refresh=False) as live:
        while study.num_remaining:
            started = time.monotonic()
            study = open_study(uri)
            live.update(study_status(study), refresh=True)
            # A large study takes longer to read: reading never takes more than a fifth of the time.
            time.sleep(max(FOLLOW_INTERVAL_S, 4 * (time.monotonic() - started)))
    _warn_of_damage(study)


@study_app.command()
@command
def trials(
    uri: StudyUri,
    state: Annotated[State, typer.Option(help="Only trials in this state.")] = "",
    sort: Annotated[SortKey, typer.Option(help="Order: lowest error, most epochs or longest time first.")] = "number",
    limit: Annotated[int | None, typer.Option(min=1, help="Largest number of trials to list.")] = None,
    format: Annotated[Literal["table", "csv", "json"], typer.Option(help="Format of the list.")] = "table",
) -> None:
    """List the trials of a study.

    Example: rcn-search study trials studies/rcn --state complete --sort error --limit 10
    """
    from rcn_search.study.selection import choose_trials
    from rcn_search.study.snapshot import open_study
    from rcn_search.study_report.trial_page import format_trials, trial_list

    study = open_study(uri)
    chosen = choose_trials(study, state=state, sort=sort, limit=limit)
    _warn_of_damage(study)
    if format == "table":
        console.print(trial_list(chosen))
        return
    typer.echo(format_trials(chosen, format), nl=False)


@study_app.command()
@command
def best(
    uri: StudyUri,
    trial: Annotated[int | None, typer.Option(min=0, help="Number of another trial than the best.")] = None,
    config: Annotated[bool, typer.Option("--config", help="Print only its configuration, for train.")] = False,
) -> None:
    """Show the winner by replication, or the best trial: parameters, learning curve, configuration, checkpoint.

    Example: rcn-search study best studies/rcn --config > best.yaml && rcn-search train best.yaml
    """
    from rcn_search.study.selection import choose_best
    from rcn_search.study.snapshot import open_study
    from rcn_search.study_report.status import replication_status
    from rcn_search.study_report.trial_page import config_yaml, trial_page

    study = open_study(uri)
    chosen = choose_best(study, trial)
    _warn_of_damage(study)
    if config:
        typer.echo(config_yaml(study, chosen), nl=False)
        return
    console.print(trial_page(study, chosen), crop=False)
    for part in replication_status(study):
        console.print(part)


@study_app.command()
@command
def export(
    uri: StudyUri,
    to: Annotated[
        str, typer.Option(metavar="FILE", help="FILE.journal, .csv, .parquet or .html; an existing file is replaced.")
    ],
) -> None:
    """Write a study to a file: an Optuna journal for optuna-dashboard, tables, or a page of figures.

    Example: rcn-search study export studies/rcn --to rcn.journal && optuna-dashboard rcn.journal
    """
    from rcn_search.study.snapshot import open_study
    from rcn_search.study_report.export import export as export_study

    study = open_study(uri)
    _warn_of_damage(study)
    for written in export_study(study, to):
        console.print(f"→ {written}", soft_wrap=True, highlight=False)


@study_app.command()
@command
def serve(
    uri: StudyUri,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0: any free port.")] = 8009,
) -> None:
    """Show a study in a browser of this machine. The page reloads when the study has changed. Ctrl-C ends it.

    Example: rcn-search study serve s3://lab/studies/rcn
    """
    import threading
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from rcn_search.leaderboard.site.serve import serve_folder
    from rcn_search.study.snapshot import open_study
    from rcn_search.study_report.live_page import LivePage, rewrite_on_change

    with TemporaryDirectory(prefix="rcn-search-study-") as folder:
        page = LivePage(Path(folder))
        page.write(open_study(uri))
        try:
            with serve_folder(page.folder, port) as address:
                print_text(f"{uri} at {address} until Ctrl-C")
                rewrite_on_change(page, uri, stop=threading.Event(), on_problem=warn)
        except KeyboardInterrupt:
            console.print("ended")


@study_app.command()
@command
def compare(
    uris: Annotated[list[str], typer.Argument(metavar="STUDY…", help="Folders or URIs of searches.")],
    out: Annotated[str, typer.Option(metavar="FILE", help="Also draw to FILE.png, .svg, .pdf or .html.")] = "",
) -> None:
    """Compare searches: the best error against trials, hours and cost, and what differs between them.

    Studies that differ in their seeds alone count as runs of one search, and give it an interval.

    Example: rcn-search study compare studies/rcn studies/rcn-wide --out compare.png
    """
    from rcn_search import storage
    from rcn_search.evaluation.figures.style import check_format
    from rcn_search.study.snapshot import open_study
    from rcn_search.study_report.comparison import comparison_table, describe_differences, group_studies
    from rcn_search.study_report.comparison_figures import draw_comparison, render_comparison

    is_page = out.endswith(".html")
    if out and not is_page:
        check_format(out)
    studies = [open_study(uri) for uri in uris]
    for study in studies:
        _warn_of_damage(study)
    methods = group_studies(studies)
    table, differences = comparison_table(methods), list(describe_differences(methods))
    console.print(table, crop=False)
    for line in differences:
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    if is_page:
        storage.write_bytes(out, render_comparison(methods, table, differences).encode())
    elif out:
        draw_comparison(methods, out)
    if out:
        console.print(f"→ {out}", soft_wrap=True, markup=False, highlight=False)


def _warn_of_damage(study: Study) -> None:
    """Name the damaged objects of a study on standard error; what is sound is shown without them."""
    if study.problems:
        warn(f"not shown: {list_first(study.problems, chr(10))}")


def _late_progress(stack: ExitStack) -> Callable[[int, int], None]:
    """Make a progress bar that appears only once the work has taken a while."""
    started, bar = time.monotonic(), None

    def on_setting(done: int, total: int) -> None:
        nonlocal bar
        if bar is None and time.monotonic() - started > _PROGRESS_AFTER_S:
            bar = stack.enter_context(progress("drawing", "settings"))
        if bar is not None:
            bar(done, total)

    return on_setting
