"""Content of the page of one entry: provenance, scores, configuration, and commands to reproduce it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.leaderboard.class_names import class_name
from rcn_search.leaderboard.records import Entry
from rcn_search.leaderboard.render import interval, row_notes
from rcn_search.leaderboard.site.charts import Chart
from rcn_search.leaderboard.site.keypoint_map import KeypointMap, keypoint_map
from rcn_search.leaderboard.site.reproduce_commands import command_lines, config_yaml, explanation
from rcn_search.leaderboard.site.tables import duration
from rcn_search.leaderboard.site.urls import config_file
from rcn_search.leaderboard.table import LeaderboardRow, format_error
from rcn_search.training.epoch_report import EpochReport
from rcn_search.training.exit_status import CONFIG_NAME, HISTORY_NAME
from rcn_search.training.history import read_history

Histories = dict[str, list[EpochReport]]
"""Epoch reports of runs by run id."""


@dataclass(frozen=True)
class EntryView:
    """Content of the page of an entry."""

    entry_id: str
    entry: Entry
    error: str
    interval: str
    facts: list[tuple[str, str]]
    scores: list[tuple[str, str, str]]
    parts: list[tuple[str, str, str, str]]
    notes: list[str]
    config_yaml: str
    config_file: str | None
    commands: list[tuple[str, str]]
    explanation: str
    keypoints: KeypointMap | None
    curve: Chart | None


def entry_view(row: LeaderboardRow, histories: Histories) -> EntryView:
    """Make the content of the page of a measured row."""
    entry, entry_id = row.entry, row.entry_id
    assert entry is not None
    assert entry_id is not None
    return EntryView(
        entry_id=entry_id,
        entry=entry,
        error=format_error(entry.error_pct),
        interval=interval(entry.ci_low_pct, entry.ci_high_pct),
        facts=_facts(row, entry, entry_id),
        scores=_scores(entry),
        parts=[
            (
                class_name(entry.protocol.dataset, name),
                f"{part.num_images:,}",
                f"{part.error.pct:.2f}",
                interval(part.error.low_pct, part.error.high_pct),
            )
            for name, part in entry.parts.items()
        ],
        notes=row_notes(row),
        config_yaml=config_yaml(entry),
        config_file=config_file(entry),
        commands=command_lines(entry, entry_id),
        explanation=explanation(entry),
        keypoints=keypoint_map(entry.protocol.keypoints, entry.points),
        curve=learning_curve(histories.get(entry.run_id, [])),
    )


def read_histories(uris: Sequence[str]) -> Histories:
    """Read the epoch reports of runs and of folders of runs; `RcnSearchError` if there is no run or one is damaged."""
    histories: Histories = {}
    for uri in uris:
        folders = [uri, *(storage.join(uri, name) for name in storage.list_names(uri))]
        runs = [folder for folder in folders if storage.exists(storage.join(folder, HISTORY_NAME))]
        if not runs:
            raise RcnSearchError(f"{uri} is neither a run nor a folder of runs: it has no {HISTORY_NAME}")
        for run in runs:
            try:
                run_id = storage.read_json(storage.join(run, CONFIG_NAME))["run_id"]
                reports = [report for _, document in read_history(run) for report in document]
                histories[run_id] = [EpochReport.model_validate(report) for report in reports]
            except (KeyError, TypeError, ValidationError) as error:
                raise RcnSearchError(f"run {run} cannot be read: {error!r}") from error
    return histories


def learning_curve(history: Sequence[EpochReport]) -> Chart | None:
    """Chart the validation error by epoch; None if fewer than two epochs have one."""
    validated = [(report.epoch, report.val_error_pct) for report in history if report.val_error_pct is not None]
    if len(validated) < 2:
        return None
    return {
        "kind": "lines",
        "label": "Learning curve",
        "x_label": "Epoch",
        "y_label": "Validation error, %",
        "x": [epoch for epoch, _ in validated],
        "shown": 1,
        "series": [{"name": "validation", "y": [round(error, 4) for _, error in validated]}],
    }


def _facts(row: LeaderboardRow, entry: Entry, entry_id: str) -> list[tuple[str, str]]:
    seeds = row.seeds
    facts = [
        ("Protocol", str(entry.protocol)),
        ("Data set", f"{entry.protocol.dataset} {entry.protocol.subset}, fingerprint {entry.fingerprint}"),
        ("Images", f"{entry.num_images:,}"),
        ("Seeds", f"{seeds.num}: {format_error(seeds.mean_pct)} ± {seeds.sd_pct:.2f} %" if seeds else ""),
        ("Test evaluations", str(entry.num_test_evaluations or "")),
        ("Origin", entry.origin),
        ("Source", entry.source or ""),
        ("Parameters", "" if entry.num_params is None else f"{entry.num_params:,}"),
        ("Multiply-adds", "" if entry.multiply_adds is None else f"{entry.multiply_adds:,}"),
        ("Latency", f"{entry.latency_ms:.3g} ms" if entry.latency_ms else ""),
        ("Trained", "" if entry.epochs is None else f"{entry.epochs} epochs, {duration(entry.train_s)}".strip(", ")),
        ("Made with", ", ".join(f"{name} {value}" for name, value in entry.made_with.items())),
        ("Hardware", entry.hardware),
        ("Code", f"rcn-search {entry.code_version}"),
        ("Created", f"{entry.created:%Y-%m-%d %H:%M} UTC"),
        ("Run", entry.run_id),
        ("Entry", entry_id),
        ("Predictions", f"SHA-256 {entry.predictions_sha256}"),
        ("Replaces", entry.replaces or ""),
    ]
    return [(name, value) for name, value in facts if value]


def _scores(entry: Entry) -> list[tuple[str, str, str]]:
    threshold = f"{entry.protocol.threshold_pct:g}"
    estimates = [
        (f"AUC up to {threshold} %", entry.auc),
        (f"Failures above {threshold} %", entry.failure_rate),
        ("90 % of the images up to", entry.p90),
        ("95 % of the images up to", entry.p95),
        ("99 % of the images up to", entry.p99),
        ("True points in the radius", entry.coverage),
        ("Mean radius", entry.radius),
    ]
    return [(name, f"{each.pct:.2f} %", interval(each.low_pct, each.high_pct)) for name, each in estimates if each]
