"""Content of a table: columns, cells as text, the keys they sort by, and the text that a search looks in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rcn_search.evaluation.score import Estimate
from rcn_search.leaderboard.render import interval, row_notes, short_count
from rcn_search.leaderboard.site.urls import entry_page
from rcn_search.leaderboard.table import LeaderboardRow, LeaderboardTable, format_error

Key = float | str | None
NUM_STATIC = 100
"""Rows in the page itself; a longer table keeps the rest as data, from which the script makes further pages."""


@dataclass(frozen=True)
class Column:
    """A column: its title, a hint, and how soon a narrow screen drops it (0: never; 3: first)."""

    name: str
    title: str
    hint: str
    drop: int = 0
    is_text: bool = False


@dataclass(frozen=True)
class Cell:
    """Text of a cell, its sort key, and a smaller second line."""

    text: str
    key: Key
    small: str = ""


@dataclass(frozen=True)
class Span:
    """An error and its interval on a scale from 0 to 100; ``beyond`` if the error lies to the right of it."""

    at: float
    low: float | None
    high: float | None
    beyond: bool


@dataclass(frozen=True)
class RowView:
    """One measured or published row."""

    row: LeaderboardRow
    cells: list[Cell]
    notes: list[str]
    page: str | None
    span: Span | None = None

    @property
    def text(self) -> str:
        """Text that a search looks in."""
        parts = [self.row.method, self.row.origin, *self.notes]
        if entry := self.row.entry:
            parts.append(entry.source or "")
        if published := self.row.published:
            parts += [published.source, str(published.year or "")]
        return " ".join(parts).lower()


@dataclass(frozen=True)
class TableView:
    """The measured or the published rows of a table, with the columns in which any of them has text."""

    columns: list[Column]
    rows: list[RowView]

    @property
    def origins(self) -> list[str]:
        """Origins of the rows, to filter by."""
        return sorted({view.row.origin for view in self.rows})


def measured_view(table: LeaderboardTable) -> TableView:
    """Make the view of rows that this project's code measured."""
    rows = [row for row in table.rows if row.entry]
    threshold = f"{table.protocol.threshold_pct:g}" if table.protocol else ""
    columns = [
        Column("rank", "#", "Rank; rows without a significant difference on the same images share a range"),
        Column("error", "Error %", "Mean error of the images that count, and its 95 % interval"),
        Column("auc", f"AUC{threshold}", f"Area under the cumulative error curve up to {threshold} %, in percent", 2),
        Column("fr", f"FR{threshold} %", f"Share of images with an error above {threshold} %", 2),
        Column("p95", "P95 %", "Error that 95 % of the images do not exceed", 3),
        Column("coverage", "In radius %", "Share of the true points in the calibrated radius of the predicted ones", 3),
        Column("radius", "Radius %", "Mean calibrated radius, in percent of the normalizer", 3),
        Column("params", "Params", "Parameters of the model", 1),
        Column("adds", "Mult-adds", "Multiply-adds for one face", 3),
        Column("ms", "ms", "Median time for one face on the hardware of the entry", 3),
        Column("epochs", "Epochs", "Number of epochs trained", 3),
        Column("train", "Training", "Training time on the hardware of the entry", 3),
        Column("evaluations", "Test evals", "Evaluations of the test split so far, this one included", 1),
    ]
    views = [
        RowView(row, _measured_cells(row, i), row_notes(row), entry_page(row.entry_id or ""), span)
        for i, (row, span) in enumerate(zip(rows, _spans(rows), strict=True))
    ]
    return _without_empty_columns(TableView(columns, views))


def published_view(table: LeaderboardTable) -> TableView:
    """Make the view of published rows, as their sources print them: no rank, no interval."""
    rows = [row for row in table.rows if not row.entry]
    columns = [
        Column("error", "Error %", "As printed"),
        Column("auc", "AUC", "As printed, up to the threshold below it", 2),
        Column("fr", "FR %", "As printed, above the threshold below it", 2),
        Column("year", "Year", "Year of publication", 1),
        Column("origin", "Origin", "Reported by the authors, or reproduced by others", 1, is_text=True),
    ]
    views = [RowView(row, _published_cells(row), row_notes(row), None) for row in rows]
    return _without_empty_columns(TableView(columns, views))


def _without_empty_columns(view: TableView) -> TableView:
    used = [i for i in range(len(view.columns)) if any(row.cells[i].text for row in view.rows)]
    rows = [replace(row, cells=[row.cells[i] for i in used]) for row in view.rows]
    return TableView([view.columns[i] for i in used], rows)


def duration(seconds: float | None) -> str:
    """Format a time.

    >>> duration(15_000)
    '4 h 10 min'
    """
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _measured_cells(row: LeaderboardRow, index: int) -> list[Cell]:
    entry = row.entry
    assert entry is not None
    return [
        Cell(str(row.rank or ""), index),
        Cell(format_error(row.error_pct), row.error_pct, interval(entry.ci_low_pct, entry.ci_high_pct)),
        *(_estimate(estimate) for estimate in (entry.auc, entry.failure_rate, entry.p95)),
        *(_estimate(estimate, with_interval=True) for estimate in (entry.coverage, entry.radius)),
        Cell(short_count(entry.num_params), entry.num_params),
        Cell(short_count(entry.multiply_adds), entry.multiply_adds),
        Cell(f"{entry.latency_ms:.3g}" if entry.latency_ms else "", entry.latency_ms),
        Cell("" if entry.epochs is None else str(entry.epochs), entry.epochs),
        Cell(duration(entry.train_s), entry.train_s),
        Cell(str(entry.num_test_evaluations or ""), entry.num_test_evaluations),
    ]


def _estimate(estimate: Estimate | None, *, with_interval: bool = False) -> Cell:
    if estimate is None:
        return Cell("", None)
    ends = interval(estimate.low_pct, estimate.high_pct) if with_interval else ""
    return Cell(f"{estimate.pct:.2f}", estimate.pct, ends)


def _published_cells(row: LeaderboardRow) -> list[Cell]:
    published = row.published
    assert published is not None
    threshold = f"at {published.threshold_pct:g} %" if published.threshold_pct else ""
    printed = (published.auc_pct, published.fr_pct)
    return [
        Cell(format_error(row.error_pct), row.error_pct),
        *(Cell("" if pct is None else f"{pct:g}", pct, "" if pct is None else threshold) for pct in printed),
        Cell(str(published.year or ""), published.year),
        Cell(row.origin, row.origin),
    ]


def _spans(rows: Sequence[LeaderboardRow]) -> list[Span | None]:
    """Place errors on a scale that separates most rows: a few that are far off do not squeeze the others."""
    if not rows:
        return []
    entries = [row.entry for row in rows if row.entry]
    lows = [entry.error_pct if entry.ci_low_pct is None else entry.ci_low_pct for entry in entries]
    highs = sorted(entry.error_pct if entry.ci_high_pct is None else entry.ci_high_pct for entry in entries)
    start, end = min(lows), highs[math.ceil(0.6 * len(highs)) - 1]
    end = max(end, start + 0.02 * start, start + 1e-9)

    def position(value: float | None) -> float | None:
        return None if value is None else round(max(0.0, min(100.0, 100 * (value - start) / (end - start))), 1)

    return [
        Span(position(error) or 0.0, position(low), position(high), error > end)
        for error, low, high in ((entry.error_pct, entry.ci_low_pct, entry.ci_high_pct) for entry in entries)
    ]
