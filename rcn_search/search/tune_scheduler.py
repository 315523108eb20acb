"""Schedulers for Ray Tune that prune trials by a study's pruner."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from rcn_search.cluster._ray_private import keep_idle_actors
from rcn_search.study.pruning import Pruner, build_pruner
from rcn_search.study.study import Study
from rcn_search.study.synchronous import SynchronousStudy


def build_scheduler(study: Study | SynchronousStudy) -> TrialScheduler:
    """Build the scheduler of a study, whose pruner knows the epochs of all trials that have ended."""
    if isinstance(study, SynchronousStudy):
        return SynchronousScheduler(study)
    pruner = build_pruner(study.config.scheduler, study.config.budget.epochs)
    for trial in study.trials:
        if trial.result:
            _report(pruner, trial.number, (epoch.model_dump() for epoch in trial.result.epochs))
    return PrunerScheduler(pruner)


class PrunerScheduler(FIFOScheduler):  # type: ignore[misc]
    """Starts trials in the order in which they are suggested, and stops those that a pruner prunes."""

    def __init__(self, pruner: Pruner) -> None:
        super().__init__()
        self._pruner = pruner

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide by the last epoch whether a trial continues; a resumed trial also reports those before."""
        stop = _report(self._pruner, trial.config["number"], result.get("epochs", ()))
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Report the last epoch of a trial that ended by itself, with which others are compared."""
        _report(self._pruner, trial.config["number"], result.get("epochs", ()))


class SynchronousScheduler(PrunerScheduler):
    """Keeps the processes of a synchronous study alive while they wait for the next batch of trials."""

    def __init__(self, study: SynchronousStudy) -> None:
        super().__init__(study.pruner)
        self._num_waiting, self._has_reserved = study.batch_size, False

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Make Tune keep a process for each trial of a batch; by itself it keeps one, and a new one costs seconds."""
        if not self._has_reserved:
            keep_idle_actors(tune_controller, trial.placement_group_factory, self._num_waiting)
            self._has_reserved = True


def _report(pruner: Pruner, trial: int, epochs: Iterable[dict[str, Any]]) -> bool:
    """Report epochs of a trial to the pruner; whether it prunes the trial after the last of them."""
    is_pruned = False
    for epoch in epochs:
        is_pruned = pruner.report(trial, epoch["epoch"], epoch["val_error_pct"])
    return is_pruned
