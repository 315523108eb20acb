"""Trials of a study in a terminal: the list of trials, one trial with its curve, and both for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rcn_search import storage
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.study_report.sparkline import plot
from rcn_search.study_report.status import format_duration, format_parameters, uri_line
from rcn_search.study_report.tables import csv_bytes, trial_table
from rcn_search.training.exit_status import BEST_NAME


def trial_list(trials: Sequence[Trial]) -> Table:
    """Render a table with a row for each trial."""
    table = Table(box=None, pad_edge=False)
    for name in ("trial", "error %", "epochs", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("parameters", overflow="fold")
    for trial in trials:
        error = "" if trial.error_pct is None else f"{trial.error_pct:.2f}"
        details = Text(format_parameters(trial))
        if trial.result and trial.result.reason:
            details.append(f"  {trial.result.reason}", style="red")
        time = format_duration(trial.busy_s)
        table.add_row(str(trial.number), error, str(len(trial.epochs)), time, trial.state, details)
    return table


def format_trials(trials: Sequence[Trial], format: Literal["csv", "json"]) -> str:
    """Format trials for programs: a row or object for each; parameters that were not drawn are empty or null."""
    table = trial_table(trials)
    if format == "csv":
        return csv_bytes(table).decode()
    return json.dumps(table.to_pylist(), indent=1, ensure_ascii=False) + "\n"


def config_yaml(study: Study, trial: Trial) -> str:
    """Format the configuration of a trial as a file for ``rcn-search train``."""
    document = trial.config.model_dump(mode="json")
    document["data"]["uri"] = study.config.base_config.data.uri  # it may have moved since
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def trial_page(study: Study, trial: Trial) -> RenderableType:
    """Render a trial with its end, parameters, learning curve, configuration and checkpoint."""
    error = "no epoch yet" if trial.error_pct is None else f"{trial.error_pct:.2f} %"
    title = f"trial {trial.number}, {trial.state}: {error} after {len(trial.epochs)} epochs"
    parameters = Table(show_header=False, box=None, pad_edge=False)
    for name, value in trial.params.items():
        parameters.add_row(Text(name), Text(f"{value:.6g}" if isinstance(value, float) else str(value)))
    curve = [trial.epochs[number].val_error_pct for number in sorted(trial.epochs)]
    parts = (
        Text(f"{title}, {format_duration(trial.busy_s)}", style="bold"),
        parameters,
        Text("\n".join(("validation error, %", *plot(curve))) if curve else "", no_wrap=True),
        Text(config_yaml(study, trial), style="dim", no_wrap=True, overflow="ignore"),
        uri_line(f"→ {storage.join(trial.folder, BEST_NAME)}"),
    )
    return Group(*(line for part in parts for line in (part, Text())))
