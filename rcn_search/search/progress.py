"""Live view of a search: trials by state, the best one, rungs, cluster use, time left."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.tune import Callback
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from rcn_search.search.budget_limit import BudgetLimit
from rcn_search.study.statistics import StudyStatistics
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.study_report.status import best_line, counts_line, format_duration, format_parameters, rung_table

REFRESH_INTERVAL_S = 0.5
CLUSTER_INTERVAL_S = 2.0
"""Seconds between two questions to Ray about the resources in use."""


class SearchProgress(Callback):  # type: ignore[misc]
    """Prints a line for each trial that ends and, on a terminal, the status of the search below. A context manager.

    The status is updated event by event (see `StudyStatistics`); no event loops over all trials.
    """

    def __init__(self, study: Study, console: Console, limit: BudgetLimit | None = None) -> None:
        self._study, self._console, self._limit = study, console, limit
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._statistics = StudyStatistics(study)
        self._num_epochs_before = self._statistics.num_epochs
        self._started = time.monotonic()
        self._refreshed = self._asked = float("-inf")
        self._cluster_use = ""
        self._unprinted: dict[int, Trial] = {}

    def __enter__(self) -> SearchProgress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Refresh the view, twice a second."""
        self._print_ended()
        now = time.monotonic()
        if self._live is None or now - self._refreshed < REFRESH_INTERVAL_S:
            return
        if now - self._asked > CLUSTER_INTERVAL_S:
            self._cluster_use, self._asked = _cluster_use(), now
        self._live.update(self.render(now - self._started), refresh=True)
        self._refreshed = now

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Count a trial that started, or an epoch of it."""
        self._statistics.update(self._study.trials[trial.config["number"]])

    on_trial_result = on_trial_start

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print how a trial ended; in a synchronous study only once its result is decided."""
        number = trial.config["number"]
        self._unprinted[number] = self._study.trials[number]
        self._print_ended()

    on_trial_error = on_trial_complete

    def _print_ended(self) -> None:
        for trial in [trial for trial in self._unprinted.values() if trial.result]:
            del self._unprinted[trial.number]
            self._statistics.update(trial)
            if trial.state == "failed":
                self._console.print(_end_line(trial), style="red", highlight=False, markup=False)
            else:
                self._console.print(_end_line(trial), no_wrap=True, overflow="ellipsis", highlight=False, markup=False)

    def render(self, elapsed_s: float) -> Group:
        """Render the status of the search, ``elapsed_s`` after it started."""
        statistics = self._statistics
        num_epochs = statistics.num_epochs - self._num_epochs_before
        times = f"{format_duration(elapsed_s)} elapsed"
        if num_epochs:
            times += f", about {format_duration(statistics.num_remaining_epochs * elapsed_s / num_epochs)} left"
        budget = self._limit.forecast(num_epochs, statistics.num_remaining_epochs) if self._limit else ""
        line = Text("  ·  ".join(part for part in (self._cluster_use, times, budget) if part), style="dim")
        return Group(Text(), counts_line(statistics), best_line(statistics), rung_table(statistics), line)


def _cluster_use() -> str:
    """Describe what is in use in the whole cluster, by anybody: ``3 of 4 CPU, 1 of 1 GPU in use``."""
    total, free = ray.cluster_resources(), ray.available_resources()
    kinds = (kind for kind in ("CPU", "GPU") if total.get(kind))
    return ", ".join(f"{total[kind] - free.get(kind, 0):g} of {total[kind]:g} {kind}" for kind in kinds) + " in use"


def _end_line(trial: Trial) -> str:
    """Describe the end of a trial in one line, the parameters last: they may be cut off."""
    assert trial.result is not None
    if trial.result.state == "failed":
        return f"trial {trial.number:>3} failed: {trial.result.reason}"
    end = f"{trial.error_pct:6.2f} % after {len(trial.epochs)} epochs"
    return f"trial {trial.number:>3} {trial.state:8} {end}  {format_parameters(trial)}"
