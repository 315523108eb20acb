"""What ``rcn-search study`` prints of a study that somebody looks at."""

from __future__ import annotations

import json
import time
from typing import Literal

import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rcn_search import storage
from rcn_search.study.lease import LeaseState
from rcn_search.study.statistics import StudyStatistics
from rcn_search.study.store import study_exists
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.study.winner import REPLICATION, read_winner, winner_table
from rcn_search.study_report.sparkline import plot
from rcn_search.study_report.summary import best_line, counts_line, format_duration, format_parameters, rung_table
from rcn_search.study_report.tables import csv_bytes, trial_table
from rcn_search.training.exit_status import BEST_NAME


def study_status(study: Study, claim: LeaseState | None) -> RenderableType:
    """Trials by state, the best so far, the rungs, time spent, and whether a driver is at work.

    Args:
        study: See `open_view`.
        claim: See `rcn_search.study.lease.read`.
    """
    standing, now = StudyStatistics(study), time.time()
    title = Text.assemble((study.config.study.name, "bold"), ("  " + study.uri, "dim"))
    spent = f"{format_duration(standing.busy_s)} of training in {standing.num_epochs} epochs"
    return Group(
        title,
        counts_line(standing, open_is="running" if claim and claim.is_active else "open"),
        best_line(standing),
        rung_table(standing),
        _time_line(spent, study, standing, claim, now),
        *replication_status(study),
    )


def replication_status(study: Study) -> list[RenderableType]:
    """Who won by the replicates of the best trials, or how many of these have ended; nothing without replication."""
    if winner := read_winner(study.uri):
        return [winner_table(winner)]
    uri = storage.join(study.uri, REPLICATION)
    if not study_exists(uri):
        return []
    return [Text.assemble(("replication ", "dim"), counts_line(StudyStatistics(Study.open(uri))))]


def _time_line(spent: str, study: Study, standing: StudyStatistics, claim: LeaseState | None, now: float) -> Text:
    if claim is None or not claim.is_active:
        to_go = standing.num_trials - standing.num_ended
        return Text(f"{spent}  ·  " + (f"no driver is at work, {to_go} trials to go" if to_go else "done"))
    # Epochs of this driver: of the trials that run, and of those that ended since it came.
    since = claim.record.acquired_at
    epochs = sum(len(trial.epochs) for trial in study.trials if not trial.result or (trial.result.ended_at or 0) > since)
    left = f", about {format_duration(standing.num_remaining_epochs * (now - since) / epochs)} left" if epochs else ""
    return Text(
        f"{spent}  ·  {claim.record.owner} is at work, for {format_duration(now - since)} now{left} "
        f"(last seen {format_duration(max(0, now - claim.last_heartbeat_at))} ago)"
    )


def list_trials_table(trials: list[Trial]) -> Table:
    """For people."""
    table = Table(box=None, pad_edge=False)
    for name in ("trial", "error %", "epochs", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("parameters", overflow="fold")
    for trial in trials:
        error = "" if trial.error_pct is None else f"{trial.error_pct:.2f}"
        said = Text(format_parameters(trial))
        if trial.result and trial.result.reason:
            said.append(f"  {trial.result.reason}", style="red")
        table.add_row(str(trial.number), error, str(len(trial.epochs)), format_duration(trial.busy_s), trial.state, said)
    return table


def trials_text(trials: list[Trial], format: Literal["csv", "json"]) -> str:
    """For programs: a row, or an object, for each trial; parameters that were not drawn are empty, or null."""
    table = trial_table(trials)
    if format == "csv":
        return csv_bytes(table).decode()
    return json.dumps(table.to_pylist(), indent=1, ensure_ascii=False) + "\n"


def config_yaml(study: Study, trial: Trial) -> str:
    """The configuration of a trial as the file that ``rcn-search train`` takes."""
    document = trial.record.config.model_dump(mode="json")
    document["data"]["uri"] = study.config.train_config({}).data.uri  # it may have moved since
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def trial_page(study: Study, trial: Trial) -> RenderableType:
    """All about one trial: how it ended, its parameters, its curve, its configuration, its checkpoint."""
    error = "no epoch yet" if trial.error_pct is None else f"{trial.error_pct:.2f} %"
    title = f"trial {trial.number}, {trial.state}: {error} after {len(trial.epochs)} epochs, {format_duration(trial.busy_s)}"
    drawn = Table(show_header=False, box=None, pad_edge=False)
    for name, value in trial.record.params.items():
        drawn.add_row(Text(name), Text(f"{value:.6g}" if isinstance(value, float) else str(value)))
    curve = [trial.epochs[number].val_error_pct for number in sorted(trial.epochs)]
    plotted = Text("\n".join(("validation error, %", *plot(curve)))) if curve else Text("")
    checkpoint = Text(f"→ {storage.join(trial.folder, BEST_NAME)}")
    parts = (Text(title, style="bold"), drawn, plotted, Text(config_yaml(study, trial), style="dim"), checkpoint)
    return Group(*(each for part in parts for each in (part, Text())))
