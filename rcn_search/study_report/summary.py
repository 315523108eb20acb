"""Summary that a search prints at its end: the best trials and where the time went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.study_report.status import STATES, format_parameters, stop_line

MAX_TRIALS = 20
"""Trials of a search that are listed, best first."""


@dataclass(frozen=True, kw_only=True)
class SearchSummary:
    """Where the time of a search went.

    Attributes:
        slots: Number of trials that ran at once.
        wall_s: Seconds from the call until Ray was shut down.
        busy_s: Seconds of training steps and validation, summed over trials.
        other_s: Seconds of opening runs and saving checkpoints, summed over trials.
        idle_s: Seconds in which slots had no trial left, while others were still at their last.
    """

    slots: int
    wall_s: float
    busy_s: float
    other_s: float
    idle_s: float

    @property
    def overhead_pct(self) -> float:
        """Share of the slots' time without training or validation: 1 - busy_s / (wall_s * slots)."""
        return 100 * (1 - self.busy_s / (self.wall_s * self.slots))


def idle_s(ended_s: Sequence[float], slots: int) -> float:
    """Sum the seconds from the end of each slot's last trial to the end of the last of all.

    Once the last trial has been handed out, every slot is at its last one, so these are the last ends.
    """
    last_s = sorted(ended_s)[-slots:] if slots else []
    return sum(last_s[-1] - end_s for end_s in last_s)


def print_summary(console: Console, study: Study, summary: SearchSummary) -> None:
    """Print the best trials, the reasons of failures, and where the time went."""
    console.print(best_trials_table(study))
    failed = [trial for trial in study.trials if trial.state == "failed"]
    for trial in failed[:MAX_TRIALS]:
        assert trial.result is not None
        console.print(f"trial {trial.number} failed: {trial.result.reason}", style="red", markup=False)
    if study.stop:
        console.print(stop_line(study, study.stop), style="yellow", highlight=False, soft_wrap=True, markup=False)
    if summary.slots:
        total_s = summary.wall_s * summary.slots
        rest_s = total_s - summary.busy_s - summary.other_s - summary.idle_s
        console.print(
            f"{summary.wall_s:.1f} s × {summary.slots} slots: {summary.busy_s / total_s:.1%} training and validation, "
            f"{summary.other_s / total_s:.1%} opening and saving trials, {summary.idle_s / total_s:.1%} idle at the "
            f"end, {rest_s / total_s:.1%} starting Ray and waiting; overhead {summary.overhead_pct:.1f} %",
            style="dim",
            highlight=False,
        )


def best_trials_table(study: Study) -> Table:
    """Render the best trials of a search with their parameters, or all trials of a fixed-run study in order."""
    counts = Counter(trial.state for trial in study.trials)
    states = (f"{counts[state]} {state}" for state in STATES if counts[state])
    title = ", ".join((f"{study.config.study.name}: {len(study.trials)} trials", *states))
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in ("trial", "error %", "epochs"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("parameters", overflow="fold")
    ranked = study.trials if study.config.runs else sorted(study.trials, key=_rank)[:MAX_TRIALS]
    best = study.best_trial
    for trial in ranked:
        error = "" if trial.error_pct is None else f"{trial.error_pct:.2f}"
        style = "bold" if trial is best else "" if trial.state == "complete" else "dim"
        cells = (str(trial.number), error, str(len(trial.epochs)), trial.state, format_parameters(trial))
        table.add_row(*cells, style=style)
    if len(study.trials) > table.row_count:
        table.caption = f"and {len(study.trials) - table.row_count} more"
    return table


def _rank(trial: Trial) -> tuple[bool, float, int]:
    error_pct = float("inf") if trial.error_pct is None else trial.error_pct
    return trial.state != "complete", error_pct, trial.number
