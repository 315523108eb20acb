"""``rcn-search tune``, and ``python -m rcn_search.cli.tune``, the line that ``ray job submit --`` is given."""

from __future__ import annotations

from typing import Annotated

import typer

from rcn_search.cli.console import command, console
from rcn_search.cli.options import Leaderboard


@command
def tune_command(
    space: Annotated[str, typer.Argument(metavar="SPACE.yaml", help="What to search and how; see search_spaces/.")],
    study: Annotated[str, typer.Option(help="Folder or URI of the study; studies/NAME by default.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study that is there.")] = False,
    go_on: Annotated[
        bool, typer.Option("--go-on", help="Start the study, or go on with it if it is there; a Ray job always does.")
    ] = False,
    trials: Annotated[
        str, typer.Option(help="How many: 80, or with --resume +50, so many more than the study had.")
    ] = "",
    branch: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Start a child beside the study, with its trials that fit the changed space."
        ),
    ] = "",
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            help="In rounds of budget.max_concurrent trials: the same seed gives the same trials, whatever dies.",
        ),
    ] = False,
    data: Annotated[str, typer.Option(help="Data set, instead of base.data.uri.")] = "",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the study, as in budget.trials=3.")
    ] = None,
    leaderboard: Leaderboard = "",
) -> None:
    """Search on the Ray cluster of RAY_ADDRESS, or on this machine; then score the best trial once.

    Example: rcn-search tune search_spaces/rcn.yaml --data data/mtfl --set budget.trials=10
    """
    from rcn_search.cluster.ray_job import in_job
    from rcn_search.leaderboard.location import lasting_board
    from rcn_search.search.run_search import run_search

    result = run_search(
        space,
        overrides=overrides or (),
        study_uri=study,
        resume=resume,
        go_on=go_on or in_job(),
        trials=trials,
        branch=branch,
        deterministic=deterministic,
        data_uri=data,
        board=lambda: lasting_board(leaderboard),
        console=console,
    )
    if not any(trial.state == "complete" for trial in result.study.trials):
        raise ValueError("no trial came to its end, so there is no result; the reasons stand above")
    if result.test_result:
        errors = ", ".join(f"{protocol} {error:.2f} %" for protocol, error in result.test_result.errors_pct.items())
        seeds = f", mean of {len(result.test_result.seeds)} seeds" if result.test_result.seeds else ""
        console.print(f"trial {result.test_result.trial} on the test split: {errors}{seeds}", style="bold", highlight=False)
        for uri in (result.test_result.checkpoint, *result.test_result.entries):
            console.print(f"→ {uri}", soft_wrap=True, highlight=False)
