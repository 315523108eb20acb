"""How many trials run at once, and the plan that a search prints before it starts."""

from __future__ import annotations

from rich.console import Console
from rich.filesize import decimal

from rcn_search.cluster.runtime import Nodes, room_at_most
from rcn_search.study.space.study_config import Budget
from rcn_search.study.study import Study


def plan_slots(nodes: Nodes, budget: Budget, num_trials: int) -> int:
    """How many trials run at once, when the cluster has grown as far as it may: the trials that wait make it grow.

    Args:
        nodes: Where; a worker of a trial lives on one of them.
        budget: What a trial needs, and how many are wanted at once.
        num_trials: How many there are to run.

    Raises:
        ValueError: The cluster has not what a trial needs, and never will.
    """
    workers = budget.workers_per_trial
    num_fitting = room_at_most(nodes, cpus=budget.cpus_per_trial, gpus=budget.gpus_per_trial)
    if num_fitting < workers:
        have = "; ".join(f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in nodes)
        have += f"; it may grow to {nodes.growth}" if nodes.growth else ""
        size = f"{budget.cpus_per_trial:g} CPU and {budget.gpus_per_trial:g} GPU"
        if workers == 1:
            raise ValueError(
                f"a trial needs {size}, and no node has that many ({have}); "
                "lower budget.cpus_per_trial or budget.gpus_per_trial"
            )
        raise ValueError(
            f"a trial has {workers} workers of {size} each, and the cluster has room for {num_fitting} ({have}); "
            "lower budget.workers_per_trial, budget.cpus_per_trial or budget.gpus_per_trial"
        )
    fits = num_fitting // workers
    wanted = fits if budget.concurrency == "auto" else budget.concurrency
    return min(fits, wanted, num_trials)


def print_plan(
    console: Console, study: Study, slots: int, nodes: Nodes, room_bytes: int, free_bytes: int | None
) -> None:
    """What is about to be run, where, and what it will take there.

    Args:
        console: Where to print.
        study: With its trials.
        slots: Trials at once.
        nodes: Of the cluster.
        room_bytes: That the checkpoints are likely to take.
        free_bytes: Where they go; None where nobody can tell.
    """
    space = study.space
    source = f"{len(space.rows)} rows" if space.rows else f"{space.sampler.name} sampler"
    if space.study.synchronous:
        source += f", repeatable in rounds of {space.study.synchronous}"
    console.print(
        f"[bold]{space.study.name}[/]: {study.num_left} trials of up to {space.budget.epochs} epochs, "
        f"{space.scheduler}, {source}\n"
        f"{slots} at once, {_size(space.budget)} each; on {nodes}\n"
        f"[dim]{study.uri}[/]\n"
        f"{decimal(room_bytes)} of checkpoints, about: the best and the last of each trial",
        highlight=False,
    )
    if free_bytes is not None and free_bytes < room_bytes:
        console.print(
            f"only {decimal(free_bytes)} are free there: make room, or stop and name another place with --study",
            style="yellow",
            highlight=False,
        )


def _size(budget: Budget) -> str:
    size = f"{budget.cpus_per_trial:g} CPU, {budget.gpus_per_trial:g} GPU"
    return size if budget.workers_per_trial == 1 else f"{budget.workers_per_trial} workers of {size}"
