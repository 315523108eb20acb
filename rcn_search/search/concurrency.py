"""How many trials run at once, and the plan that a search prints before it starts."""

from __future__ import annotations

import time
from typing import Any

from ray.tune import Callback
from rich.console import Console
from rich.filesize import decimal
from rich.text import Text

from rcn_search.cluster.runtime import CapacityError, ClusterResources, current_resources
from rcn_search.study.space.sections import Budget
from rcn_search.study.study import Study

SCALE_UP_TIMEOUT_S = 900.0
"""Longest wait for the first node that a trial fits on: a cloud may take minutes to start one."""
_CHECK_INTERVAL_S = 2.0


def plan_slots(cluster: ClusterResources, budget: Budget, num_trials: int) -> int:
    """Choose the number of trials that run at once.

    With ``budget.max_concurrent: auto`` it is the number that fits on the nodes now. A number may be larger, except on
    a cluster that cannot grow: trials that do not fit wait, and their placement groups make an autoscaler start nodes.
    Each worker of a trial needs its resources on one node.

    Raises:
        CapacityError: No trial fits, and the cluster cannot grow or was not asked to.
    """
    if budget.max_concurrent != "auto" and not cluster.is_fixed:
        return min(budget.max_concurrent, num_trials)
    num_fitting = num_fitting_trials(cluster, budget)
    if not num_fitting:
        raise _does_not_fit(cluster, budget)
    return min(num_fitting, num_trials, *([] if budget.max_concurrent == "auto" else [budget.max_concurrent]))


def num_fitting_trials(cluster: ClusterResources, budget: Budget) -> int:
    """Number of trials that fit on the nodes at once."""
    num_workers = cluster.capacity(cpus=budget.cpus_per_trial, gpus=budget.gpus_per_trial)
    return num_workers // budget.workers_per_trial


def _does_not_fit(cluster: ClusterResources, budget: Budget) -> CapacityError:
    size = f"{budget.cpus_per_trial:g} CPU and {budget.gpus_per_trial:g} GPU"
    if budget.workers_per_trial == 1:
        message = f"a trial needs {size}, but no node has that many ({cluster}); "
        message += "lower budget.cpus_per_trial or budget.gpus_per_trial"
    else:
        num_workers = cluster.capacity(cpus=budget.cpus_per_trial, gpus=budget.gpus_per_trial)
        message = (
            f"a trial has {budget.workers_per_trial} workers of {size} each, but the cluster has room for "
            f"{num_workers} ({cluster}); lower budget.workers_per_trial, budget.cpus_per_trial or "
            "budget.gpus_per_trial"
        )
    if budget.max_concurrent == "auto" and not cluster.is_fixed:
        message += "; on a cluster that starts nodes on demand, set budget.max_concurrent to a number"
    return CapacityError(message)


class ScaleUpTimeout(Callback):  # type: ignore[misc]
    """Ends a search whose trials fit on no node, `SCALE_UP_TIMEOUT_S` after it started."""

    def __init__(self, budget: Budget) -> None:
        self._budget, self._has_fitted, self._next_check = budget, False, 0.0
        self._deadline = time.monotonic() + SCALE_UP_TIMEOUT_S

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Check the nodes, every other second, until a trial has fitted once."""
        now = time.monotonic()
        if self._has_fitted or now < self._next_check:
            return
        self._next_check = now + _CHECK_INTERVAL_S
        cluster = current_resources()
        self._has_fitted = num_fitting_trials(cluster, self._budget) > 0
        if not self._has_fitted and now >= self._deadline:
            raise _does_not_fit(cluster, self._budget)


def print_plan(
    console: Console,
    study: Study,
    slots: int,
    cluster: ClusterResources,
    checkpoint_bytes: int | None,
    free_bytes: int | None,
) -> None:
    """Print what is about to run, where, and the disk space that it will take, if known of what is free there."""
    config = study.config
    source = f"{len(config.runs)} fixed runs" if config.runs else f"{config.sampler.name} sampler"
    if config.stop:
        source += f", {config.stop}"
    if config.study.trial_batch_size:
        source += f", repeatable in batches of {config.study.trial_batch_size}"
    plan = f": {study.num_remaining} trials of up to {config.budget.epochs} epochs, {config.scheduler}, {source}\n"
    console.print(Text.assemble((config.study.name, "bold"), plan, _at_once(slots, cluster, config.budget)))
    console.print(study.uri, style="dim", highlight=False, soft_wrap=True, markup=False)
    if checkpoint_bytes is None:
        return
    console.print(f"about {decimal(checkpoint_bytes)} of checkpoints: best and last of each trial", highlight=False)
    if free_bytes is not None and free_bytes < checkpoint_bytes:
        console.print(
            f"only {decimal(free_bytes)} are free there: free some, or stop and name another location with --study",
            style="yellow",
            highlight=False,
        )


def _at_once(slots: int, cluster: ClusterResources, budget: Budget) -> str:
    size = f"{budget.cpus_per_trial:g} CPU, {budget.gpus_per_trial:g} GPU"
    if budget.workers_per_trial > 1:
        size = f"{budget.workers_per_trial} workers of {size}"
    fitting = num_fitting_trials(cluster, budget)
    text = f"{slots} at once, {size} each; on {cluster}"
    return text if fitting >= slots else f"{text}: {fitting} fit now, the others wait until the cluster scales up"
