"""The live view of a search: trials by state, the best so far, time left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from ray.tune import Callback
from rich.console import Console
from rich.live import Live
from rich.text import Text

from rcn_search.search.study import Study, Trial
from rcn_search.search.summary import parameters

REFRESH_S = 0.25


class SearchProgress(Callback):  # type: ignore[misc]
    """A line for each trial that ends and, on a terminal, one that tells how the search stands. A context manager."""

    def __init__(self, study: Study, console: Console) -> None:
        self._study, self._console = study, console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._started = self._shown = time.monotonic()
        self._num_left = study.num_left

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
        """Refresh, four times a second."""
        now = time.monotonic()
        if self._live and now - self._shown > REFRESH_S:
            self._shown = now
            self._live.update(Text(self._standing(now)), refresh=True)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say how a trial ended."""
        ended = self._study.trials[trial.config["number"]]
        if ended.outcome:
            self._console.print(_line(ended), highlight=False, markup=False, soft_wrap=True)

    on_trial_error = on_trial_complete

    def _standing(self, now: float) -> str:
        study, best = self._study, self._study.best
        running = [trial for trial in study.trials if trial.state == "running"]
        left = study.num_left + len(running)
        ended = self._num_left - left
        parts = [f"{ended} of {self._num_left} trials ended"]
        if running:
            parts.append("running after " + ", ".join(str(len(trial.epochs)) for trial in running) + " epochs")
        if best:
            parts.append(f"best {best.error_pct:.2f} % (trial {best.number})")
        if ended:
            parts.append(f"{(now - self._started) / ended * left:.0f} s left")
        return "  ·  ".join(parts)


def _line(trial: Trial) -> str:
    assert trial.outcome is not None
    if trial.outcome.state == "failed":
        return f"trial {trial.number:>3} failed: {trial.outcome.reason}"
    end = f"{trial.error_pct:6.2f} % after {len(trial.epochs)} epochs"
    return f"trial {trial.number:>3} {trial.state:8} {end}  {parameters(trial)}"
