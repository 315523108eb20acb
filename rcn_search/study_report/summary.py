"""What a search prints, and what is printed of a study: plan, trials, rungs, and where the time went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rcn_search.study.statistics import StudyStatistics
from rcn_search.study.study import Study
from rcn_search.study.trial import State, Trial

if TYPE_CHECKING:
    pass  # Ray, which looking at a study does without

NUM_SHOWN = 20
STATES: tuple[State, ...] = ("running", "open", "complete", "pruned", "failed")


@dataclass(frozen=True, kw_only=True)
class SearchSummary:
    """Where the time of a search went.

    Attributes:
        slots: Trials at once.
        wall_s: From the call to the end of Ray, start-up and all.
        busy_s: Training steps and validation, summed over trials.
        other_s: Of trials: opening runs, saving checkpoints.
        idle_s: Of slots that no trial was left for, while others were still at theirs.
    """

    slots: int
    wall_s: float
    busy_s: float
    other_s: float
    idle_s: float

    @property
    def overhead_pct(self) -> float:
        """Share of the slots' time in which nothing was trained or validated: 1 - busy_s / (wall_s * slots)."""
        return 100 * (1 - self.busy_s / (self.wall_s * self.slots))


def idle_s(ended_s: Sequence[float], slots: int) -> float:
    """Time that slots had no trial left to run: from the end of the last one of each to the end of them all.

    When the last trial has been given out, every slot is at its last one: theirs are the last ends.

    Args:
        ended_s: When each trial ended.
        slots: Trials at once.
    """
    last_s = sorted(ended_s)[-slots:] if slots else []
    return sum(last_s[-1] - each for each in last_s)


def print_summary(console: Console, study: Study, summary: SearchSummary) -> None:
    """The table of trials, best first, and the time."""
    console.print(best_trials_table(study))
    failed = [trial for trial in study.trials if trial.state == "failed"]
    for trial in failed[:NUM_SHOWN]:
        assert trial.result is not None
        console.print(f"trial {trial.number} failed: {trial.result.reason}", style="red", markup=False)
    if summary.slots:
        total_s = summary.wall_s * summary.slots
        console.print(
            f"{summary.wall_s:.1f} s × {summary.slots} slots: training and validation {summary.busy_s / total_s:.1%}, "
            f"opening and saving trials {summary.other_s / total_s:.1%}, no trial left for a slot "
            f"{summary.idle_s / total_s:.1%}, Ray's start, its end and waiting "
            f"{1 - (summary.busy_s + summary.other_s + summary.idle_s) / total_s:.1%}\n"
            f"overhead {summary.overhead_pct:.1f} % [dim](all but training and validation)[/]",
            highlight=False,
        )


def best_line(standing: StudyStatistics) -> Text:
    """The best trial and what was drawn for it; of several objectives, how large the front is."""
    if standing.config.runs:
        return Text("a study of rows: each is there to be compared, none to be chosen", style="dim")
    if not standing.pareto_front:
        return Text("no trial is complete yet", style="dim")
    if len(standing.config.objectives) > 1:
        numbers = ", ".join(str(trial.number) for trial in standing.pareto_front[:NUM_SHOWN])
        more = ", …" if len(standing.pareto_front) > NUM_SHOWN else ""
        return Text(f"{len(standing.pareto_front)} trials that no other is better than: {numbers}{more}")
    (best,) = standing.pareto_front
    return Text.assemble((f"best {best.error_pct:.2f} %", "bold green"), f"  trial {best.number}: {format_parameters(best)}")


def counts_line(standing: StudyStatistics, *, open_is: str = "open") -> Text:
    """For example ``14 of 30 trials ended  ·  2 running  ·  5 complete  ·  9 pruned``.

    Args:
        standing: To be told.
        open_is: What an open trial is called: ``running`` where another process drives the study.
    """
    counts = (
        f"{standing.counts[state]} {open_is if state == 'open' else state}"
        for state in STATES
        if standing.counts[state]
    )
    return Text("  ·  ".join((f"{standing.num_ended} of {standing.num_trials} trials ended", *counts)))


def rung_table(standing: StudyStatistics) -> Table:
    """How many trials came how far, and how they stood there."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("epoch", "reached", "stopped", "best %", "quarter", "median", "three quarters"):
        table.add_column(name, justify="right")
    for rung in standing.rungs:
        if rung.errors_pct:
            errors = (f"{rung.quantile(share):.2f}" for share in (0, 0.25, 0.5, 0.75))
            table.add_row(str(rung.epoch), str(len(rung.errors_pct)), str(rung.num_pruned), *errors)
    table.show_header = bool(table.row_count)
    return table


def format_duration(seconds: float) -> str:
    """``41 s``, ``3 min 5 s``, ``2 h 14 min``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {left} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def best_trials_table(study: Study) -> Table:
    """The best trials of a study, with what was drawn for them; of a study of rows all, in order."""
    table = Table(
        title=f"{study.config.study.name}: {count_states(study)}", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("trial", justify="right")
    table.add_column("error %", justify="right")
    table.add_column("epochs", justify="right")
    table.add_column("state")
    table.add_column("parameters", overflow="fold")
    ranked = study.trials if study.config.runs else sorted(study.trials, key=_rank)
    for trial in ranked if study.config.runs else ranked[:NUM_SHOWN]:
        error = "" if trial.error_pct is None else f"{trial.error_pct:.2f}"
        style = "bold" if trial is study.best_trial else "" if trial.state == "complete" else "dim"
        table.add_row(str(trial.number), error, str(len(trial.epochs)), trial.state, format_parameters(trial), style=style)
    if len(ranked) > table.row_count:
        table.caption = f"and {len(ranked) - table.row_count} more"
    return table


def format_parameters(trial: Trial) -> str:
    """What was drawn, for people: ``branches 6, skip False, lr 0.004``."""
    drawn = ((name.partition("[")[0].rpartition(".")[2], value) for name, value in trial.record.params.items())
    return ", ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in drawn)


def count_states(study: Study) -> str:
    """For example ``30 trials, 12 complete, 18 pruned``."""
    counts = Counter(trial.state for trial in study.trials)
    states = (f"{counts[state]} {state}" for state in STATES if counts[state])
    return ", ".join((f"{len(study.trials)} trials", *states))


def _rank(trial: Trial) -> tuple[bool, float, int]:
    error = float("inf") if trial.error_pct is None else trial.error_pct
    return trial.state != "complete", error, trial.number
