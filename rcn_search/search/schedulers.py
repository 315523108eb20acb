"""Schedulers by name: which trials are stopped early. Their rungs survive the driver."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from rcn_search.search.space import Asha
from rcn_search.search.study import Study
from rcn_search.search.trial import METRIC, TIME


def build_scheduler(study: Study) -> TrialScheduler:
    """The scheduler of a study, with all that the study's ended trials reported."""
    scheduler = study.space.scheduler
    return ResumableAsha(scheduler, study) if isinstance(scheduler, Asha) else FIFOScheduler()


class ResumableAsha(ASHAScheduler):  # type: ignore[misc]
    """Ray's ASHA, whose rungs know the trials that ended before this driver started."""

    def __init__(self, asha: Asha, study: Study) -> None:
        super().__init__(
            time_attr=TIME,
            metric=METRIC,
            mode="min",
            max_t=study.space.budget.epochs,
            grace_period=asha.grace_epochs,
            reduction_factor=asha.reduction,
        )
        for trial in study.trials:
            if trial.outcome:
                past = SimpleNamespace(trial_id=f"ledger-{trial.number}")
                self.on_trial_add(None, past)
                self._replay(past, (epoch.model_dump() for epoch in trial.outcome.epochs))
                self.on_trial_remove(None, past)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial goes on."""
        self._replay(trial, result.get("epochs", ())[:-1])
        return str(super().on_trial_result(tune_controller, trial, result))

    def _replay(self, trial: Any, epochs: Iterable[dict[str, Any]]) -> None:
        for epoch in epochs:
            super().on_trial_result(None, trial, {TIME: epoch["epoch"], METRIC: epoch["val_error_pct"]})
