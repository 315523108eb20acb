"""Status of a study in a terminal: counts, best trial, rungs, winner by replication, and the process that runs it."""

from __future__ import annotations

import time
from statistics import fmean, stdev

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rcn_search import storage
from rcn_search.study.lease import LeaseState
from rcn_search.study.records import StopRecord, StudyError
from rcn_search.study.statistics import StudyStatistics
from rcn_search.study.store import study_exists
from rcn_search.study.study import Study
from rcn_search.study.trial import State, Trial
from rcn_search.study.winner import REPLICATION, Candidate, Winner, read_winner

MAX_LISTED = 20
"""Trials of a Pareto front that are listed by number."""
MAX_IMPORTANT = 5
"""Parameters of a prior that are listed."""
STATES: tuple[State, ...] = ("running", "open", "complete", "pruned", "failed")


def study_status(study: Study) -> RenderableType:
    """Render trials by state, the best one, rungs, time, the winner by replication, and the process that runs it."""
    statistics, lease = StudyStatistics(study), study.lease
    is_running = lease is not None and lease.is_active
    return Group(
        Text(study.config.study.name, style="bold"),
        uri_line(study.uri, style="dim"),
        counts_line(statistics, open_as="running" if is_running else "open"),
        best_line(statistics),
        rung_table(statistics),
        Text(f"{format_duration(statistics.busy_s)} of training in {statistics.num_epochs} epochs"),
        process_line(study, statistics, lease),
        *map(Text, prior_lines(study)),
        *replication_status(study),
    )


def replication_status(study: Study) -> list[RenderableType]:
    """Render the winner by replication, or how many of its runs have ended; empty without replication."""
    try:
        winner = read_winner(study.uri, study.num_trials)
    except StudyError as error:
        return [Text(str(error), style="yellow")]
    if winner:
        return [winner_table(winner)]
    uri = storage.join(study.uri, REPLICATION)
    if not study_exists(uri):
        return []
    return [Text.assemble(("replication ", "dim"), counts_line(StudyStatistics(Study.open(uri))))]


def process_line(
    study: Study, statistics: StudyStatistics, lease: LeaseState | None, *, with_times: bool = True
) -> Text:
    """Render which process runs a study and, with times, since when, how long still, and when it was last heard of."""
    if lease is None or not lease.is_active:
        num_left = statistics.num_trials - statistics.num_ended
        if num_left:
            return Text(f"not running: {num_left} trials left; tune --resume runs them")
        return Text(stop_line(study, study.stop) if study.stop else "done")
    if not with_times:
        return Text(f"running in {lease.record.owner}")
    since, now = lease.record.acquired_at, time.time()
    # Epochs trained by this process: of trials that have not ended, and of those that ended after it came.
    num_epochs = sum(
        len(trial.epochs) for trial in study.trials if not trial.result or (trial.result.ended_at or 0) > since
    )
    left = ""
    if num_epochs:
        left = f", about {format_duration(statistics.num_remaining_epochs * (now - since) / num_epochs)} left"
    heartbeat = format_duration(max(0, now - lease.last_heartbeat_at))
    return Text(f"running in {lease.record.owner} for {format_duration(now - since)}{left} (heartbeat {heartbeat} ago)")


def prior_lines(study: Study) -> list[str]:
    """Describe each study of the prior, and which parameters were important there."""
    if study.prior is None:
        return []
    lines = []
    for uri, shares in study.prior.importances.items():
        important = [f"{name} {share:.0%}" for name, share in list(shares.items())[:MAX_IMPORTANT] if share >= 0.01]
        lines.append(f"prior {uri}" + (f", important there: {', '.join(important)}" if important else ""))
    return lines


def stop_line(study: Study, stop: StopRecord) -> str:
    """Describe why a study stopped before its last trial, and how to continue."""
    return (
        f"stopped after {stop.num_trials} of {study.config.budget.trials} trials: {stop.reason}\n"
        "to continue, change or remove the rule and add --resume, as in --set stop=null"
    )


def counts_line(statistics: StudyStatistics, *, open_as: str = "open") -> Text:
    """Render the number of trials in each state: ``14 of 30 trials ended  ·  2 running  ·  5 complete  ·  9 pruned``.

    Open trials are called ``running`` if another process runs the study.
    """
    words = {"open": open_as}
    counts = (f"{statistics.counts[state]} {words.get(state, state)}" for state in STATES if statistics.counts[state])
    damaged = [f"{statistics.num_damaged} damaged"] if statistics.num_damaged else []
    return Text("  ·  ".join((f"{statistics.num_ended} of {statistics.num_trials} trials ended", *counts, *damaged)))


def best_line(statistics: StudyStatistics) -> Text:
    """Render the best trial and its parameters; with several objectives, the Pareto front."""
    front = statistics.pareto_front
    if statistics.config.runs:
        return Text("fixed runs, of which none is chosen", style="dim")
    if not front:
        return Text("no trial is complete yet", style="dim")
    if len(statistics.config.objectives) > 1:
        numbers = ", ".join(str(trial.number) for trial in front[:MAX_LISTED])
        more = ", …" if len(front) > MAX_LISTED else ""
        return Text(f"{len(front)} trials on the Pareto front: {numbers}{more}")
    (best,) = front
    return Text.assemble(
        (f"best {best.error_pct:.2f} %", "bold green"), f"  trial {best.number}: {format_parameters(best)}"
    )


def rung_table(statistics: StudyStatistics) -> Table:
    """Render how many trials reached each rung, how many were pruned there, and the distribution of their errors."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("epoch", "reached", "pruned", "best %", "quartile 1", "median", "quartile 3"):
        table.add_column(name, justify="right")
    for rung in statistics.rungs:
        if rung.errors_pct:
            errors = (f"{rung.quantile(share):.2f}" for share in (0, 0.25, 0.5, 0.75))
            table.add_row(str(rung.epoch), str(len(rung.errors_pct)), str(rung.num_pruned), *errors)
    table.show_header = bool(table.row_count)
    return table


def winner_table(winner: Winner) -> RenderableType:
    """Render the candidates of a replication as a table, below one line that names the winner."""
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="dim")
    for name in ("trial", "search %", "seeds", "mean %", "± seeds", "− winner", "95 % interval", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for candidate in winner.candidates:
        errors = [run.error_pct for run in candidate.runs if run.error_pct is not None]
        low, high = candidate.interval_pct or (None, None)
        table.add_row(
            str(candidate.trial),
            f"{candidate.search_error_pct:.2f}",
            f"{len(errors)} of {len(candidate.runs)}" if candidate.error_pct is None else str(len(errors)),
            "" if candidate.error_pct is None else f"{candidate.error_pct:.2f}",
            f"{stdev(errors):.2f}" if len(errors) > 1 else "",
            "" if candidate.minus_winner_pct is None else f"{candidate.minus_winner_pct:+.2f}",
            "" if low is None else f"{low:+.2f} to {high:+.2f}",
            "" if candidate.p is None else f"{candidate.p:.3f}",
            _verdict(winner, candidate),
            style="bold" if candidate.trial == winner.trial else "",
        )
    return Group(_winner_line(winner), table)


def _verdict(winner: Winner, candidate: Candidate) -> str:
    if candidate.trial == winner.trial:
        return "winner"
    return "failed" if candidate.error_pct is None else "tied" if candidate.is_tied else ""


def _winner_line(winner: Winner) -> Text:
    errors = [run.error_pct for run in winner.runs if run.error_pct is not None]
    tied = [str(candidate.trial) for candidate in winner.candidates if candidate.is_tied]
    line = f"trial {winner.trial} wins: {fmean(errors):.2f} % over {len(errors)} new seeds"
    if tied:
        line += f", tied with {'trials' if len(tied) > 1 else 'trial'} {', '.join(tied)}"
    return Text(line, style="bold green")


def uri_line(uri: str, *, style: str = "") -> Text:
    """Render a URI as one line that is never broken, however narrow the terminal is."""
    return Text(uri, style=style, no_wrap=True, overflow="ignore")


def format_duration(seconds: float) -> str:
    """Format a duration: ``41 s``, ``3 min 5 s``, ``2 h 14 min``."""
    minutes, rest_s = divmod(round(seconds), 60)
    hours, rest_min = divmod(minutes, 60)
    if hours:
        return f"{hours} h {rest_min} min"
    return f"{minutes} min {rest_s} s" if minutes else f"{rest_s} s"


def format_parameters(trial: Trial) -> str:
    """Format the parameters of a trial by the last parts of their names: ``branches 6, skip False, lr 0.004``."""
    named = ((name.partition("[")[0].rpartition(".")[2], value) for name, value in trial.params.items())
    return ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in named)
