"""Print the leaderboard in a terminal; headings, cells and notes of a table as text."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.score import Estimate
from rcn_search.leaderboard.class_names import class_name
from rcn_search.leaderboard.table import Leaderboard, LeaderboardRow, LeaderboardTable, format_error
from rcn_search.printable import PlainConsole

_LEFT_OUT = (
    *("origin", "ms", "radius %", "in radius %", "P95 %", "FR %", "AUC"),
    *("images", "params", "epochs", "test evals", "seeds", "95 % CI"),
)
"""Columns that leave room for the method, the first of them first; our rows are still known by their color."""
_METHOD_SHARE, _MIN_METHOD_WIDTH = 3, 26
"""The method gets one of so many parts of the terminal, if it needs them, and no less than this width."""
_GAP = 2
TEXT_COLUMNS = {"method", "95 % CI", "origin"}


def select_attribute(leaderboard: Leaderboard, attribute: str) -> Leaderboard:
    """Select the tables in which a row has errors by class of ``attribute``; `RcnSearchError` if there is none."""
    tables = tuple(table for table in leaderboard.tables if _parts(table, attribute))
    if not tables:
        parts = {part for table in leaderboard.tables for row in table.rows if row.entry for part in row.entry.parts}
        known = ", ".join(sorted({part.rpartition(" ")[0] for part in parts})) or "none"
        raise RcnSearchError(f"no row has errors by {attribute!r}; attributes with errors by class: {known}")
    return replace(leaderboard, tables=tables)


def print_leaderboard(
    leaderboard: Leaderboard, console: Console | None = None, *, limit: int | None = None, by_attribute: str = ""
) -> None:
    """Print a table for each data set, subset and protocol, with our rows highlighted, and problems below.

    ``limit`` is the largest number of rows. ``by_attribute`` shows errors by class of it in place of other columns.
    """
    console = console or PlainConsole()
    for table in leaderboard.tables:
        console.print(Text(table_title(table), style="bold"))
        num_hidden = 0 if limit is None else max(0, len(table.rows) - limit)
        table = replace(table, rows=table.rows[:limit])
        notes = number_notes(table)
        console.print(_rich_table(table, notes, by_attribute, console.width))
        if num_hidden:
            console.print(Text(f"… and {num_hidden:,} more rows (--limit 0 shows all)", style="dim"))
        for note, number in notes.items():
            console.print(Text(f"[{number}] {note}", style="dim"))
        console.print()
    if not leaderboard.tables:
        console.print("The leaderboard is empty.")
    for problem in leaderboard.problems:
        console.print(Text(f"warning: {problem}", style="yellow"), soft_wrap=True)


def _rich_table(table: LeaderboardTable, notes: dict[str, int], by_attribute: str, width: int) -> Table:
    rich_table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    headings, rows = row_cells(table, notes, by_attribute)
    titles = {heading: heading_text(table, heading) for heading in headings}
    titles = {heading: title if "%" in title else title.replace(" ", "\n") for heading, title in titles.items()}
    headings = _fitting(headings, titles, rows, width)
    for heading in headings:
        justify: Literal["left", "right"] = "left" if heading in TEXT_COLUMNS else "right"
        rich_table.add_column(titles[heading], justify=justify, no_wrap=heading != "method")
    for row, cells in zip(table.rows, rows, strict=True):
        # Text, not str: a method name is shown as it is, whatever markup it holds.
        style = "bold green" if row.origin == "ours" else ""
        rich_table.add_row(*(Text(cells[heading]) for heading in headings), style=style)
    return rich_table


def _fitting(headings: list[str], titles: dict[str, str], rows: list[dict[str, str]], width: int) -> list[str]:
    """Leave out columns until the method has room."""
    widths = {
        heading: max(cell_len(text) for text in (*titles[heading].splitlines(), *(cells[heading] for cells in rows)))
        for heading in headings
    }
    widths["method"] = min(widths["method"], max(_MIN_METHOD_WIDTH, width // _METHOD_SHARE))
    kept = list(headings)
    for heading in _LEFT_OUT:
        if sum(widths[name] + _GAP for name in kept) <= width:
            break
        if heading in kept:
            kept.remove(heading)
    return kept


def table_title(table: LeaderboardTable) -> str:
    """Name data set, subset and protocol."""
    protocol = str(table.protocol) if table.protocol else "protocol not stated, so no ranks"
    return f"{table.dataset.upper()} {table.subset} · {protocol}"


def number_notes(table: LeaderboardTable) -> dict[str, int]:
    """Number the distinct notes of the table from 1."""
    notes = dict.fromkeys(note for row in table.rows for note in row_notes(row))
    return {note: number for number, note in enumerate(notes, start=1)}


def row_notes(row: LeaderboardRow) -> list[str]:
    """List why a row has no rank, the images it excludes, and doubts about it."""
    excluded = row.entry.excluded if row.entry else {}
    notes = [row.no_rank_reason]
    notes += [f"{count:,} images excluded: {reason}" for reason, count in excluded.items()]
    return [note for note in (*notes, row.note) if note]


def row_cells(table: LeaderboardTable, notes: dict[str, int], by: str) -> tuple[list[str], list[dict[str, str]]]:
    """Make the cells of each row, and the headings under which any cell has text."""
    rows = [_cells(table, row, notes, by) for row in table.rows]
    return [name for name in rows[0] if any(cells[name] for cells in rows)], rows


def heading_text(table: LeaderboardTable, name: str) -> str:
    """Add the threshold to the names of AUC and failure rate, as in AUC8 for 8 %."""
    threshold = f"{table.protocol.threshold_pct:g}" if table.protocol else ""
    return {"AUC": f"AUC{threshold} %", "FR %": f"FR{threshold} %"}.get(name, name)


def _parts(table: LeaderboardTable, by: str) -> list[str]:
    """List the classes of an attribute, as in ``pose 1``, for which any row of the table has an error."""
    parts = {part for row in table.rows if row.entry for part in row.entry.parts if part.rpartition(" ")[0] == by}
    return sorted(parts, key=lambda part: (len(part), part))


def _cells(table: LeaderboardTable, row: LeaderboardRow, notes: dict[str, int], by: str) -> dict[str, str]:
    entry = row.entry
    auc, failure_rate, p95 = (entry.auc, entry.failure_rate, entry.p95) if entry else (None, None, None)
    coverage, radius = (entry.coverage, entry.radius) if entry else (None, None)
    marks = [f"[{notes[note]}]" for note in row_notes(row)]
    cells = {
        "#": str(row.rank or ""),
        "method": " ".join([row.method, *marks]),
        "error %": format_error(row.error_pct),
        "95 % CI": interval(entry.ci_low_pct, entry.ci_high_pct) if entry else "",
    }
    if by:
        parts = entry.parts if entry else {}
        return cells | {
            class_name(table.dataset, part).removeprefix(f"{by}: "): format_error(parts[part].error.pct)
            if part in parts
            else ""
            for part in _parts(table, by)
        }
    return cells | {
        "seeds": f"{format_error(row.seeds.mean_pct)} ± {row.seeds.sd_pct:.2f} ({row.seeds.num})" if row.seeds else "",
        "AUC": f"{auc.pct:.2f}" if auc else "",
        "FR %": f"{failure_rate.pct:.2f}" if failure_rate else "",
        "P95 %": format_error(p95.pct) if p95 else "",
        "in radius %": _with_interval(coverage),
        "radius %": _with_interval(radius),
        "images": f"{entry.num_images:,}" if entry else "",
        "params": short_count(entry.num_params) if entry else "",
        "ms": f"{entry.latency_ms:.3g}" if entry and entry.latency_ms else "",
        "epochs": "" if entry is None or entry.epochs is None else str(entry.epochs),
        "test evals": str(entry.num_test_evaluations) if entry else "",
        "origin": row.origin,
    }


def _with_interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    ends = interval(estimate.low_pct, estimate.high_pct)
    return f"{format_error(estimate.pct)} ({ends})" if ends else format_error(estimate.pct)


def interval(low: float | None, high: float | None) -> str:
    """Format an interval, as in 5.31–5.56."""
    return "" if low is None or high is None else f"{format_error(low)}–{format_error(high)}"


def short_count(count: int | None) -> str:
    """Format a count with three digits.

    >>> short_count(310_229)
    '310 k'
    """
    if count is None:
        return ""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)
