"""``rcn-search tune``, and ``python -m rcn_search.tune``, the command that ``ray job submit --`` is given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rcn_search.cli.console import command, console
from rcn_search.cli.options import Leaderboard, StudyOverrides
from rcn_search.errors import RcnSearchError

if TYPE_CHECKING:
    from rcn_search.search.run_search import SearchResult


WarmStartFrom = Annotated[
    str,
    typer.Option(
        metavar="STUDY", help="Start a new study (--study NEW) with the finished trials of this one that fit its space."
    ),
]
Prior = Annotated[
    list[str] | None,
    typer.Option(
        metavar="STUDY",
        help="Start a new study with what was good in this one, of another data set or space. May be repeated.",
    ),
]
Deterministic = Annotated[
    bool,
    typer.Option(
        "--deterministic",
        help="Batches of budget.max_concurrent trials: the same seed gives the same trials, even after crashes.",
    ),
]


@command
def tune_command(
    study_file: Annotated[
        str, typer.Argument(metavar="STUDY.yaml", help="Study file: what to search and how; see search_spaces/.")
    ],
    study: Annotated[
        str, typer.Option(metavar="URI", help="Folder or URI of the study. Default: studies/NAME, by study.name.")
    ] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Resume the existing study.")] = False,
    auto_resume: Annotated[
        bool, typer.Option("--auto-resume", help="Resume the study if it exists, else start it. Implied in a Ray job.")
    ] = False,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Number of trials in all, in place of budget.trials.")
    ] = None,
    add_trials: Annotated[
        int | None, typer.Option(min=1, help="With --resume: run this many more trials than the study had.")
    ] = None,
    warm_start_from: WarmStartFrom = "",
    prior: Prior = None,
    deterministic: Deterministic = False,
    data: Annotated[str, typer.Option(metavar="URI", help="Data set, in place of base.data.uri.")] = "",
    overrides: StudyOverrides = None,
    leaderboard: Leaderboard = "",
) -> None:
    """Run a search on the Ray cluster of RAY_ADDRESS, or on this machine, then evaluate the best trial once.

    Example: rcn-search tune search_spaces/rcn.yaml --data data/mtfl --trials 10
    """
    from rcn_search.cluster.ray_job import is_ray_job
    from rcn_search.leaderboard.location import resolve_leaderboard
    from rcn_search.study.loading import load_study_config

    load_study_config(study_file, overrides=overrides or (), data_uri=data)  # a mistake is answered before Ray loads
    from rcn_search.search.open_or_resume import StudyRequest
    from rcn_search.search.run_search import run_search

    request = StudyRequest(
        study_file=study_file,
        overrides=overrides or (),
        study_uri=study,
        resume=resume,
        auto_resume=auto_resume or is_ray_job(),
        trials=trials,
        add_trials=add_trials,
        warm_start_from=warm_start_from,
        prior=prior or (),
        deterministic=deterministic,
        data_uri=data,
    )
    leaderboard_uri = resolve_leaderboard(leaderboard)
    result = run_search(request, leaderboard=leaderboard_uri, console=console)
    if not any(trial.state == "complete" for trial in result.study.trials):
        raise RcnSearchError("no trial completed; see the errors above")
    _print_test_result(result)
    _print_next_steps(result, leaderboard_uri)


def _print_test_result(result: SearchResult) -> None:
    if test := result.test_result:
        errors = ", ".join(f"{protocol} {error:.2f} %" for protocol, error in test.errors_pct.items())
        seeds = f", mean of {len(test.seeds)} seeds" if test.seeds else ""
        console.print(f"trial {test.trial} on the test split: {errors}{seeds}", style="bold", highlight=False)
        for uri in (test.checkpoint, *test.entries):
            console.print(f"→ {_shorten(uri)}", soft_wrap=True, highlight=False)


def _print_next_steps(result: SearchResult, leaderboard_uri: str | None) -> None:
    study = _shorten(result.study.uri)
    commands = [f"rcn-search study status {study}", f"rcn-search study export {study} --to study.html"]
    if result.test_result and leaderboard_uri:
        commands.append(f"rcn-search leaderboard --leaderboard {_shorten(leaderboard_uri)}")
    console.print("next:", style="dim")
    for line in commands:
        console.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)


def _shorten(uri: str) -> str:
    """The path from the working directory to a local file below it; any other URI as it is."""
    return str(Path(uri).relative_to(Path.cwd())) if Path(uri).is_relative_to(Path.cwd()) else uri
