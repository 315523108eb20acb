"""The limits of a budget: hours, GPU hours and cost are counted while trials run, and end the search when used up."""

from __future__ import annotations

import time
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial
from rich.console import Console

from rcn_search.study.budget_use import Limit, Use, limits, share_left
from rcn_search.study.lease import Lease
from rcn_search.study.space.sections import Budget
from rcn_search.study.study import Study


class BudgetUsedUp(Exception):  # noqa: N818 - the planned end of a search, no error
    """A limit of the budget is reached; running trials keep their last saved epoch."""


class BudgetLimit(Callback):  # type: ignore[misc]
    """Adds up what the trials of a search reserve, over all its processes, and ends Tune's loop at a limit.

    ``used_before`` is the use of the study by earlier processes.
    """

    def __init__(self, budget: Budget, lease: Lease, used_before: Use) -> None:
        self._budget, self._lease, self._used_before = budget, lease, used_before
        self._last_step = time.monotonic()
        workers = budget.workers_per_trial
        self._per_trial_s = Use(cpu_s=workers * budget.cpus_per_trial, gpu_s=workers * budget.gpus_per_trial)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Count the time since the last step for each trial that runs.

        Raises:
            BudgetUsedUp: A limit is reached.
        """
        now = time.monotonic()
        num_running = sum(trial.status == TuneTrial.RUNNING for trial in trials)
        self._lease.add_reserved(self._per_trial_s * (num_running * (now - self._last_step)))
        self._last_step = now
        if self.reached:
            raise BudgetUsedUp

    @property
    def limits(self) -> list[Limit]:
        """Limits of the budget, with what is used of each."""
        return limits(self._budget, self._used_before + self._lease.use)

    @property
    def reached(self) -> Limit | None:
        """The limit that is used up; None if there is none."""
        return next((limit for limit in self.limits if limit.is_reached), None)

    def print_use(self, console: Console) -> None:
        """Print what is used of each limit."""
        if self.limits:
            console.print(f"budget: {', '.join(map(str, self.limits))} used", highlight=False)

    def print_used_up(self, console: Console, study: Study) -> None:
        """Print that a limit has ended the search, the best trial so far, and how to continue."""
        assert self.reached
        best = study.best_trial
        name = f"trial {best.number} with {best.error_pct:.2f} %, not replicated" if best else "none"
        console.print(
            f"budget.{self.reached.key} is used up; the best trial so far: {name}\n"
            f"to continue, raise it and add --resume, as in --set {self.reached.suggestion}",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )

    def forecast(self, num_epochs: int, num_remaining_epochs: float) -> str:
        """Describe use and forecast, once this process has trained ``num_epochs``; empty without limits.

        For example ``0.52 of 2 hours used, enough for 60% of what is left``.
        """
        if not self.limits:
            return ""
        text = ", ".join(map(str, self.limits)) + " used"
        if not num_epochs:
            return text
        needed = self._lease.use * (num_remaining_epochs / num_epochs)
        share = share_left(self._budget, self._used_before + self._lease.use, needed)
        return f"{text}, enough for all trials" if share >= 1 else f"{text}, enough for {share:.0%} of what is left"
