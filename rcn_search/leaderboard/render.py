"""The board as rich tables for a terminal, or as Markdown, CSV or JSON text."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from rcn_search.leaderboard.board import Board, Row, Table, printed_error

Format = Literal["markdown", "csv", "json"]
FORMATS: tuple[Format, ...] = ("markdown", "csv", "json")

_HEADINGS = ("#", "method", "error %", "95 % CI", "images", "params", "epochs", "looks", "origin")
_WIDE = {"images", "params", "origin"}
"""Left out of a narrow terminal, to leave room for the method; our rows are known by colour and interval."""
WIDE_COLUMNS = 100
_NUMERIC = {"#", "error %", "images", "params", "epochs", "looks"}


def render(board: Board, output: Format) -> str:
    """The board as text that ends in a newline. Problems of the board are not part of it."""
    return {"markdown": _markdown, "csv": _csv, "json": _json}[output](board)


def print_board(board: Board, console: Console | None = None) -> None:
    """One table per data set, subset and protocol, our rows highlighted, and what could not be shown below."""
    console = console or Console()
    for table in board.tables:
        console.print(Text(_title(table), style="bold"))
        notes = _notes(table)
        # Text, not str: a method name is shown as it is, whatever markup it holds.
        rich_table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        rows = [_cells(table, row, notes) for row in table.rows]
        hidden = _WIDE if console.width < WIDE_COLUMNS else set()
        filled = [i for i, name in enumerate(_HEADINGS) if name not in hidden and any(cells[i] for cells in rows)]
        for heading in (_HEADINGS[index] for index in filled):
            justify: Literal["left", "right"] = "right" if heading in _NUMERIC else "left"
            rich_table.add_column(heading, justify=justify, no_wrap=heading != "method")
        for row, cells in zip(table.rows, rows, strict=True):
            style = "bold green" if row.origin == "ours" else ""
            rich_table.add_row(*(Text(cells[index]) for index in filled), style=style)
        console.print(rich_table)
        for note, number in notes.items():
            console.print(Text(f"[{number}] {note}", style="dim"))
        console.print()
    if not board.tables:
        console.print("The board is empty.")
    for problem in board.problems:
        console.print(Text(f"warning: {problem}", style="yellow"), soft_wrap=True)


def _title(table: Table) -> str:
    protocol = str(table.protocol) if table.protocol else "protocol not stated, so no ranks"
    return f"{table.dataset.upper()} {table.subset} · {protocol}"


def _notes(table: Table) -> dict[str, int]:
    """Each distinct note of the table and its number, from 1."""
    notes = dict.fromkeys(note for row in table.rows for note in _row_notes(table, row))
    return {note: number for number, note in enumerate(notes, start=1)}


def _row_notes(table: Table, row: Row) -> list[str]:
    excluded = row.entry.excluded if row.entry else {}
    notes = [row.unranked if table.protocol else ""]  # the title says so of a table without a protocol
    notes += [f"{count:,} images excluded: {reason}" for reason, count in excluded.items()]
    return [note for note in (*notes, row.note) if note]


def _cells(table: Table, row: Row, notes: dict[str, int]) -> tuple[str, ...]:
    """One string per heading."""
    entry = row.entry
    interval = ""
    if entry and entry.ci_low_pct is not None and entry.ci_high_pct is not None:
        interval = f"{printed_error(entry.ci_low_pct)}–{printed_error(entry.ci_high_pct)}"
    marks = [f"[{notes[note]}]" for note in _row_notes(table, row)]
    return (
        "" if row.rank is None else str(row.rank),
        " ".join([row.method, *marks]),
        printed_error(row.error_pct),
        interval,
        f"{entry.num_images:,}" if entry else "",
        _short_count(entry.num_params) if entry else "",
        "" if entry is None or entry.epochs is None else str(entry.epochs),
        str(entry.test_looks) if entry else "",
        row.origin,
    )


def _short_count(count: int | None) -> str:
    if count is None:
        return ""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def _markdown(board: Board) -> str:
    lines: list[str] = []
    for table in board.tables:
        notes = _notes(table)
        lines += [f"### {_escape_markdown(_title(table))}", ""]
        lines.append(f"| {' | '.join(map(_escape_markdown, _HEADINGS))} |")
        lines.append(f"|{'|'.join('---:' if heading in _NUMERIC else '---' for heading in _HEADINGS)}|")
        for row in table.rows:
            cells = [_escape_markdown(cell) for cell in _cells(table, row, notes)]
            if row.origin == "ours":
                cells[1] = f"**{cells[1]}**"
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
        lines += [f"- {_escape_markdown(f'[{number}] {note}')}" for note, number in notes.items()]
        lines += [""] if notes else []
    return "\n".join(lines)


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|~#&])", r"\\\1", text)


def _json(board: Board) -> str:
    return json.dumps(_records(board), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _csv(board: Board) -> str:
    records = _records(board)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def _records(board: Board) -> list[dict[str, Any]]:
    return [_record(table, row) for table in board.tables for row in table.rows]


def _record(table: Table, row: Row) -> dict[str, Any]:
    """One flat row for machines; None where a value does not apply."""
    entry, published, protocol = row.entry, row.published, table.protocol
    return {
        "rank": row.rank,
        "method": row.method,
        "dataset": table.dataset,
        "subset": table.subset,
        "protocol": table.protocol_name,
        "keypoints": protocol.keypoints if protocol else published and published.keypoints,
        "normaliser": protocol.normaliser if protocol else published and published.normaliser,
        "grid_px": protocol and protocol.grid_px,
        "error_pct": row.error_pct,
        "ci_low_pct": entry and entry.ci_low_pct,
        "ci_high_pct": entry and entry.ci_high_pct,
        "num_images": entry and entry.num_images,
        "num_excluded": sum(entry.excluded.values()) if entry else None,
        "origin": row.origin,
        "year": published.year if published else entry and entry.created.year,
        "num_params": entry and entry.num_params,
        "multiply_adds": entry and entry.multiply_adds,
        "epochs": entry and entry.epochs,
        "train_s": entry and entry.train_s,
        "test_looks": entry and entry.test_looks,
        "run_id": entry and entry.run_id,
        "entry_id": row.entry_id,
        "source": published and published.source,
        "note": "; ".join(filter(None, (row.unranked, row.note))),
    }
