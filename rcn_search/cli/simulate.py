"""``rcn-search simulate``: compare samplers and schedulers over the recorded learning curves of a study."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from rcn_search.cli.console import command, console, progress

if TYPE_CHECKING:
    from rcn_search.simulation.replay import MethodResult

SHARES = (0.25, 0.5, 1.0)
"""Shares of the budget at which the errors are shown."""
TRUSTED_EXPLAINED_VARIANCE = 0.6
"""Below this the surrogate is marked: it ranks the methods on a landscape that is mostly made up."""


@command
def simulate_command(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="Folder or URI of a study whose trials ran to their last epoch.")
    ],
    workers: Annotated[int, typer.Option(min=1, max=100_000, help="Number of trials that run at once.")] = 8,
    sampler: Annotated[list[str] | None, typer.Option(help="tpe, random, …; repeat the option to compare.")] = None,
    scheduler: Annotated[list[str] | None, typer.Option(help="asha, none, …; repeat the option to compare.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="none, no_gain=30, regret=0.5, …; repeat the option to compare.")
    ] = None,
    budget: Annotated[float, typer.Option(min=0.1, help="Worker time of each search, in full trainings.")] = 50.0,
    seeds: Annotated[int, typer.Option(min=2, help="Number of searches of each sampler and scheduler.")] = 20,
) -> None:
    """Replay searches over the learning curves of a study, on a virtual clock.

    Searches with a stop rule may end before the budget is spent.

    A Gaussian process predicts the curves of settings that were not recorded. All methods are compared with the first,
    seed by seed. At least 20 trials must have run to their last epoch: rcn-search tune recorded --data DATA records 60.

    Example: rcn-search simulate studies/recorded --workers 256 --sampler random --sampler tpe --scheduler asha
    """
    from rcn_search.simulation.replay import Method, compare_methods
    from rcn_search.simulation.surrogate import RecordedCurves
    from rcn_search.study.study import Study

    names = product(sampler or ["random", "tpe"], scheduler or ["asha"], stop or ["none"])
    methods = [Method.from_names(*each) for each in names]
    recorded = Study.open(study)
    curves = RecordedCurves(recorded)
    with progress("simulating", "searches") as on_search:
        results = compare_methods(
            recorded.config, curves, methods, workers=workers, budget=budget, num_seeds=seeds, on_search=on_search
        )
    console.print(_error_table(results, budget))
    if len(results) > 1:
        console.print(_difference_table(results, budget))
    console.print(
        f"The surrogate explains {100 * max(0.0, curves.explained_variance):.0f} % of the variance of the errors of "
        "trials that it has not seen",
        style="dim" if curves.explained_variance > TRUSTED_EXPLAINED_VARIANCE else "yellow",
        highlight=False,
    )


def _error_table(results: list[MethodResult], budget: float) -> Table:
    """Render the mean error over seeds at shares of the budget, the number of trials and the virtual time."""
    from rcn_search.simulation.replay import mean_interval

    table = _table(
        f"lowest validation error in %, by full trainings spent; {len(results[0].searches)} seeds",
        *(f"{share * budget:g}" for share in SHARES),
        "95 % interval",
        "spent",
        "trials",
        "time",
    )
    for result in results:
        num_trials = sum(search.num_trials for search in result.searches) / len(result.searches)
        minutes = sum(search.wall_s for search in result.searches) / len(result.searches) / 60
        table.add_row(
            result.name,
            *(f"{result.errors_at(share * budget).mean():.2f}" for share in SHARES),
            "{:.2f} to {:.2f}".format(*mean_interval(result.errors_at(budget))),
            f"{sum(search.cost for search in result.searches) / len(result.searches):.1f}",
            f"{num_trials:.0f}",
            f"{minutes:.0f} min",
        )
    return table


def _difference_table(results: list[MethodResult], budget: float) -> Table:
    """Render the mean difference of each method from the first, seed by seed."""
    from rcn_search.simulation.replay import mean_interval

    first, *others = results
    table = _table(f"error minus that of {first.name}, after {budget:g} full trainings", "mean", "95 % interval")
    for result in others:
        difference = result.errors_at(budget) - first.errors_at(budget)
        table.add_row(result.name, f"{difference.mean():+.2f}", "{:+.2f} to {:+.2f}".format(*mean_interval(difference)))
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("method", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
