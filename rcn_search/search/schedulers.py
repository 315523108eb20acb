"""Between Ray Tune and a study's stopping rule, which is told what the ledger knows when a driver starts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from rcn_search.search.stopping import StoppingRule, build_rule
from rcn_search.search.study import Study


def build_scheduler(study: Study) -> TrialScheduler:
    """The scheduler of a study, with all that the study's ended trials reported."""
    rule = build_rule(study.space.scheduler, study.space.budget.epochs)
    for trial in study.trials:
        if trial.outcome:
            _report(rule, trial.number, (epoch.model_dump() for epoch in trial.outcome.epochs))
    return RuleScheduler(rule)


class RuleScheduler(FIFOScheduler):  # type: ignore[misc]
    """Trials start in the order in which they are asked for, and are stopped by a rule."""

    def __init__(self, rule: StoppingRule) -> None:
        super().__init__()
        self._rule = rule

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial goes on: by its last epoch; those before, of a trial that was taken up, are only noted."""
        stop = _report(self._rule, trial.config["number"], result.get("epochs", ()))
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A trial came to its own end, which is what others are measured by; one that failed reports no epochs."""
        _report(self._rule, trial.config["number"], result.get("epochs", ()))


def _report(rule: StoppingRule, trial: int, epochs: Iterable[dict[str, Any]]) -> bool:
    """Note the epochs; what the rule says after the last of them."""
    stop = False
    for epoch in epochs:
        stop = rule.report(trial, epoch["epoch"], epoch["val_error_pct"])
    return stop
