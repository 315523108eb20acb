"""The live view of a search: trials by state, the best so far, rungs, the cluster, time left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

import ray
from ray.tune import Callback
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from rcn_search.study.statistics import StudyStatistics
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.study_report.summary import best_line, counts_line, format_duration, format_parameters, rung_table

REFRESH_S = 0.5
CLUSTER_S = 2.0
"""How often Ray is asked what is in use."""


class SearchProgress(Callback):  # type: ignore[misc]
    """A line for each trial that ends and, on a terminal, how the search stands below them. A context manager.

    What it shows is kept up event by event (see `Standing`); nothing here looks at all trials.
    """

    def __init__(self, study: Study, console: Console) -> None:
        self._study, self._console = study, console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._standing = StudyStatistics(study)
        self._epochs_before = self._standing.num_epochs
        self._started = time.monotonic()
        self._shown = self._asked = float("-inf")
        self._in_use = ""
        self._to_be_said: dict[int, Trial] = {}

    def __enter__(self) -> SearchProgress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Refresh, twice a second."""
        self._say()
        now = time.monotonic()
        if self._live is None or now - self._shown < REFRESH_S:
            return
        if now - self._asked > CLUSTER_S:
            self._in_use, self._asked = _in_use(), now
        self._live.update(self.view(now - self._started), refresh=True)
        self._shown = now

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It runs."""
        self._standing.update(self._trial(trial))

    on_trial_result = on_trial_start

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say how a trial ended; in a synchronous study as soon as that is settled."""
        ended = self._trial(trial)
        self._to_be_said[ended.number] = ended
        self._say()

    on_trial_error = on_trial_complete

    def _say(self) -> None:
        for trial in [trial for trial in self._to_be_said.values() if trial.result]:
            del self._to_be_said[trial.number]
            self._standing.update(trial)
            self._console.print(_line(trial), highlight=False, markup=False, soft_wrap=self._live is None)

    def view(self, elapsed_s: float) -> Group:
        """How the search stands, ``elapsed_s`` after it started."""
        standing = self._standing
        epochs = standing.num_epochs - self._epochs_before
        left_s = standing.num_remaining_epochs * elapsed_s / epochs if epochs else None
        times = f"{format_duration(elapsed_s)} gone" + (
            "" if left_s is None else f", about {format_duration(left_s)} left"
        )
        state = Text("  ·  ".join(part for part in (self._in_use, times) if part), style="dim")
        return Group(Text(), counts_line(standing), best_line(standing), rung_table(standing), state)

    def _trial(self, trial: Any) -> Trial:
        number: int = trial.config["number"]
        return self._study.trials[number]


def _in_use() -> str:
    """For example ``3 of 4 CPU, 1 of 1 GPU in use``: of the whole cluster, by whomever."""
    total, free = ray.cluster_resources(), ray.available_resources()
    kinds = (kind for kind in ("CPU", "GPU") if total.get(kind))
    return ", ".join(f"{total[kind] - free.get(kind, 0):g} of {total[kind]:g} {kind}" for kind in kinds) + " in use"


def _line(trial: Trial) -> str:
    assert trial.result is not None
    if trial.result.state == "failed":
        return f"trial {trial.number:>3} failed: {trial.result.reason}"
    end = f"{trial.error_pct:6.2f} % after {len(trial.epochs)} epochs"
    return f"trial {trial.number:>3} {trial.state:8} {end}  {format_parameters(trial)}"
