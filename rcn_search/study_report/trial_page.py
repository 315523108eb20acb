"""Trials of a study in a terminal: the list of trials, one trial with its curve, and both for programs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rcn_search import storage
from rcn_search.printable import json_text
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.study_report.export import csv_bytes, trial_table
from rcn_search.study_report.status import format_duration, format_parameters, uri_line
from rcn_search.training.exit_status import BEST_NAME
from rcn_search.yaml_document import dump_yaml

_EIGHTHS = " ▁▂▃▄▅▆▇█"
"""Fillings of a character cell."""
HEIGHT, WIDTH = 8, 60
"""Lines and columns of a learning curve."""


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
        cells = (str(trial.number), error, str(len(trial.epochs)), format_duration(trial.busy_s), trial.state)
        table.add_row(*cells, details)
    return table


def format_trials(trials: Sequence[Trial], format: Literal["csv", "json"]) -> str:
    """Format trials for programs: a row or object for each; parameters that were not drawn are empty or null."""
    table = trial_table(trials)
    if format == "csv":
        return csv_bytes(table).decode()
    return json_text(table.to_pylist())


def config_yaml(study: Study, trial: Trial) -> str:
    """Format the configuration of a trial as a file for ``rcn-search train``."""
    document = trial.config.model_dump(mode="json")
    document["data"]["uri"] = study.config.base_config.data.uri  # it may have moved since
    return dump_yaml(document)


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


def plot(values: Sequence[float]) -> list[str]:
    """Draw a bar chart with its highest and lowest value beside it: a bar for each value, or for the lowest of several.

    A first epoch is often ten times the last one, and what matters is at the end. So the scale is that of all but the
    first eighth; bars beyond it are full. The lines have at most 70 characters; the last one is the axis of epochs.
    """
    bars = _fold(values)
    low, high = min(bars), max(bars[len(bars) // 8 :])
    span = (high - low) or 1.0
    # The lowest bar keeps an eighth, so that it can be seen.
    levels = [min(8 * HEIGHT, 1 + round((value - low) / span * (8 * HEIGHT - 1))) for value in bars]
    width = max(1, min(4, WIDTH // len(bars)))
    lines = []
    for row in reversed(range(HEIGHT)):
        label = {HEIGHT - 1: f"{high:8.2f}", 0: f"{low:8.2f}"}.get(row, " " * 8)
        cells = "".join(width * _EIGHTHS[min(8, max(0, level - 8 * row))] for level in levels)
        lines.append(f"{label} ┤{cells}")
    axis = f"1{len(values):>{max(1, width * len(bars) - 1)}}" if len(values) > 1 else "1"
    return [*lines, f"{'epoch':>8} └{axis}"]


def _fold(values: Sequence[float]) -> list[float]:
    count = min(WIDTH, len(values))
    edges = [round(index * len(values) / count) for index in range(count + 1)]
    return [min(values[start:end]) for start, end in pairwise(edges)]
