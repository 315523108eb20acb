"""``rcn-search simulate``: samplers and schedulers compared over the recorded curves of a study."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from rcn_search.cli.console import command, console, progress

if TYPE_CHECKING:
    from rcn_search.simulation.replay import MethodResult

DEFAULT_COST = 50.0
SHARES = (0.25, 0.5, 1.0)
TRUSTED = 0.6
"""Below this the surrogate is marked: methods are ranked by a landscape that is mostly made up."""


@command
def simulate_command(
    study: Annotated[str, typer.Argument(help="Folder or URI of a study whose trials ran to their last epoch.")],
    workers: Annotated[int, typer.Option(min=1, max=100_000, help="Trials at once.")] = 8,
    sampler: Annotated[list[str] | None, typer.Option(help="tpe, random, …; may stand more than once.")] = None,
    scheduler: Annotated[list[str] | None, typer.Option(help="asha, none, …; may stand more than once.")] = None,
    cost: Annotated[
        float, typer.Option(min=0.1, help="Of each search, in trainings to the last epoch.")
    ] = DEFAULT_COST,
    seeds: Annotated[int, typer.Option(min=2, help="Searches of each pair of sampler and scheduler.")] = 20,
) -> None:
    """Replay searches over the learning curves of a study, on a virtual clock.

    Settings that were not recorded get the curve that a Gaussian process makes of all that were. The first pair is what
    the others are compared with, seed by seed.

    Example: rcn-search simulate studies/recorded --workers 256 --sampler random --sampler tpe --scheduler asha
    """
    from rcn_search.simulation.replay import Method, compare_methods
    from rcn_search.simulation.surrogate import RecordedCurves
    from rcn_search.study.study import Study

    methods = [Method.from_names(*names) for names in product(sampler or ["random", "tpe"], scheduler or ["asha"])]
    recorded = Study.open(study)
    curves = RecordedCurves(recorded)
    with progress("simulating", "searches") as on_run:
        contenders = compare_methods(
            recorded.config, curves, methods, workers=workers, cost=cost, seeds=seeds, on_run=on_run
        )
    console.print(_table(contenders, cost))
    console.print(
        f"The curves explain {100 * max(0.0, curves.explained_variance):.0f} % of what a trial left out of them reached",
        style="dim" if curves.explained_variance > TRUSTED else "yellow",
        highlight=False,
    )


def _table(contenders: list[MethodResult], cost: float) -> Table:
    """Mean error of the seeds when a part of the cost was spent, best last column; and against the first method."""
    from rcn_search.simulation.replay import mean_interval

    first = contenders[0]
    table = Table(
        title=f"lowest validation error, %, after so many full trainings; {len(first.searches)} seeds",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("method", no_wrap=True)
    for share in SHARES:
        table.add_column(f"{share * cost:g}", justify="right")
    for heading in ("95 % interval", f"less {first.name}", "95 % interval", "trials", "virtual time"):
        table.add_column(heading, justify="right")
    for contender in contenders:
        reached = contender.errors_at(cost)
        gain = reached - first.errors_at(cost)
        trials = sum(run.num_trials for run in contender.searches) / len(contender.searches)
        minutes = sum(run.wall_s for run in contender.searches) / len(contender.searches) / 60
        table.add_row(
            contender.name,
            *(f"{contender.errors_at(share * cost).mean():.2f}" for share in SHARES),
            "{:.2f} to {:.2f}".format(*mean_interval(reached)),
            *(
                ("", "")
                if contender is first
                else (f"{gain.mean():+.2f}", "{:+.2f} to {:+.2f}".format(*mean_interval(gain)))
            ),
            f"{trials:.0f}",
            f"{minutes:.0f} min",
        )
    return table
