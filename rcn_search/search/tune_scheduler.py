"""Between Ray Tune and a study's stopping rule, which is told what the ledger knows when a driver starts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from rcn_search.cluster._ray_private import keep_idle_actors
from rcn_search.study.pruning import Pruner, build_pruner
from rcn_search.study.study import Study
from rcn_search.study.synchronous import SynchronousStudy


def build_scheduler(study: Study | SynchronousStudy) -> TrialScheduler:
    """The scheduler of a study, with all that the study's ended trials reported."""
    if isinstance(study, SynchronousStudy):
        return SynchronousScheduler(study)
    rule = build_pruner(study.config.scheduler, study.config.budget.epochs)
    for trial in study.trials:
        if trial.result:
            _report(rule, trial.number, (epoch.model_dump() for epoch in trial.result.epochs))
    return PrunerScheduler(rule)


class PrunerScheduler(FIFOScheduler):  # type: ignore[misc]
    """Trials start in the order in which they are asked for, and are stopped by a rule."""

    def __init__(self, rule: Pruner) -> None:
        super().__init__()
        self._rule = rule

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial goes on: by its last epoch; those before, of a trial that was taken up, are only noted."""
        stop = _report(self._rule, trial.config["number"], result.get("epochs", ()))
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A trial came to its own end, which is what others are measured by; one that failed reports no epochs."""
        _report(self._rule, trial.config["number"], result.get("epochs", ()))


class SynchronousScheduler(PrunerScheduler):
    """For a synchronous study, whose processes wait for the next round; Tune would end all but one of them."""

    def __init__(self, rounds: SynchronousStudy) -> None:
        super().__init__(rounds.pruner)
        self._num_waiting, self._told = rounds.batch_size, False

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Have Tune keep so many processes; it has no option for that, and one costs seconds."""
        if not self._told:
            keep_idle_actors(tune_controller, trial.placement_group_factory, self._num_waiting)
            self._told = True


def _report(rule: Pruner, trial: int, epochs: Iterable[dict[str, Any]]) -> bool:
    """Note the epochs; what the rule says after the last of them."""
    stop = False
    for epoch in epochs:
        stop = rule.report(trial, epoch["epoch"], epoch["val_error_pct"])
    return stop
