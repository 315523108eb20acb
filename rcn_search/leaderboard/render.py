"""Render the leaderboard as tables for a terminal, or as Markdown, LaTeX, CSV or JSON text."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rcn_search.errors import RcnSearchError
from rcn_search.leaderboard.class_names import class_name
from rcn_search.leaderboard.table import Leaderboard, LeaderboardRow, LeaderboardTable, format_error

Format = Literal["markdown", "latex", "csv", "json"]
FORMATS: tuple[Format, ...] = ("markdown", "latex", "csv", "json")

_WIDE = {"AUC", "FR %", "P95 %", "images", "params", "ms", "origin"}
"""Columns left out of a narrow terminal, to leave room for the method; our rows are still known by their color."""
WIDE_COLUMNS = 120
_TEXTS = {"method", "95 % CI", "origin"}


def render(leaderboard: Leaderboard, output: Format, *, by_attribute: str = "") -> str:
    """Render the leaderboard, without its problems, as text that ends in a newline.

    Args:
        leaderboard: Leaderboard to render.
        output: Kind of text.
        by_attribute: In Markdown and LaTeX, show the error of each class of this attribute in place of other columns.
    """
    if output in ("markdown", "latex"):
        return {"markdown": _markdown, "latex": _latex}[output](leaderboard, by_attribute)
    return {"csv": _csv, "json": _json}[output](leaderboard)


def select_attribute(leaderboard: Leaderboard, attribute: str) -> Leaderboard:
    """Select the tables in which a row has errors by class of ``attribute``.

    Raises:
        RcnSearchError: There is none.
    """
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

    Args:
        leaderboard: Leaderboard to print.
        console: Where to print; standard output by default.
        limit: Largest number of rows of a table; all by default.
        by_attribute: Show the error of each class of this attribute in place of other columns.
    """
    console = console or Console()
    for table in leaderboard.tables:
        console.print(Text(_title(table), style="bold"))
        num_hidden = 0 if limit is None else max(0, len(table.rows) - limit)
        table = replace(table, rows=table.rows[:limit])
        notes = _notes(table)
        console.print(_rich_table(table, notes, by_attribute, is_narrow=console.width < WIDE_COLUMNS))
        if num_hidden:
            console.print(Text(f"… and {num_hidden:,} more rows (--limit 0 shows all)", style="dim"))
        for note, number in notes.items():
            console.print(Text(f"[{number}] {note}", style="dim"))
        console.print()
    if not leaderboard.tables:
        console.print("The leaderboard is empty.")
    for problem in leaderboard.problems:
        console.print(Text(f"warning: {problem}", style="yellow"), soft_wrap=True)


def _rich_table(table: LeaderboardTable, notes: dict[str, int], by_attribute: str, *, is_narrow: bool) -> Table:
    rich_table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    hidden: Collection[str] = ()
    if is_narrow:
        hidden = {"95 % CI"} if by_attribute else _WIDE
    headings, rows = _filled(table, notes, by_attribute, hidden=hidden)
    for heading in headings:
        title = _heading(table, heading)
        rich_table.add_column(
            title if "%" in title else title.replace(" ", "\n"),
            justify="left" if heading in _TEXTS else "right",
            no_wrap=heading != "method",
        )
    for row, cells in zip(table.rows, rows, strict=True):
        # Text, not str: a method name is shown as it is, whatever markup it holds.
        style = "bold green" if row.origin == "ours" else ""
        rich_table.add_row(*(Text(cells[heading]) for heading in headings), style=style)
    return rich_table


def _title(table: LeaderboardTable) -> str:
    protocol = str(table.protocol) if table.protocol else "protocol not stated, so no ranks"
    return f"{table.dataset.upper()} {table.subset} · {protocol}"


def _notes(table: LeaderboardTable) -> dict[str, int]:
    """Number the distinct notes of the table from 1."""
    notes = dict.fromkeys(note for row in table.rows for note in _row_notes(table, row))
    return {note: number for number, note in enumerate(notes, start=1)}


def _row_notes(table: LeaderboardTable, row: LeaderboardRow) -> list[str]:
    excluded = row.entry.excluded if row.entry else {}
    notes = [row.no_rank_reason]
    notes += [f"{count:,} images excluded: {reason}" for reason, count in excluded.items()]
    return [note for note in (*notes, row.note) if note]


def _filled(
    table: LeaderboardTable, notes: dict[str, int], by: str, hidden: Collection[str] = ()
) -> tuple[list[str], list[dict[str, str]]]:
    """Make the cells of each row, and the headings under which any cell has text."""
    rows = [_cells(table, row, notes, by) for row in table.rows]
    return [name for name in rows[0] if name not in hidden and any(cells[name] for cells in rows)], rows


def _heading(table: LeaderboardTable, name: str) -> str:
    """Add the threshold to the names of AUC and failure rate, as in AUC8 for 8 %."""
    threshold = f"{table.protocol.threshold_pct:g}" if table.protocol else ""
    return {"AUC": f"AUC{threshold} %", "FR %": f"FR{threshold} %"}.get(name, name)


def _parts(table: LeaderboardTable, by: str) -> list[str]:
    """List the classes of an attribute, as in ``pose 1``, for which any row of the table has an error."""
    parts = {part for row in table.rows if row.entry for part in row.entry.parts if part.rpartition(" ")[0] == by}
    return sorted(parts, key=lambda part: (len(part), part))


def _cells(table: LeaderboardTable, row: LeaderboardRow, notes: dict[str, int], by: str) -> dict[str, str]:
    """Make the text under each heading."""
    entry = row.entry
    auc, failure_rate, p95 = (entry.auc, entry.failure_rate, entry.p95) if entry else (None, None, None)
    interval = ""
    if entry and entry.ci_low_pct is not None and entry.ci_high_pct is not None:
        interval = f"{format_error(entry.ci_low_pct)}–{format_error(entry.ci_high_pct)}"
    marks = [f"[{notes[note]}]" for note in _row_notes(table, row)]
    cells = {
        "#": str(row.rank or ""),
        "method": " ".join([row.method, *marks]),
        "error %": format_error(row.error_pct),
        "95 % CI": interval,
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
        "images": f"{entry.num_images:,}" if entry else "",
        "params": short_count(entry.num_params) if entry else "",
        "ms": f"{entry.latency_ms:.3g}" if entry and entry.latency_ms else "",
        "epochs": "" if entry is None or entry.epochs is None else str(entry.epochs),
        "test evals": str(entry.test_looks) if entry else "",
        "origin": row.origin,
    }


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


def _markdown(leaderboard: Leaderboard, by: str) -> str:
    lines: list[str] = []
    for table in leaderboard.tables:
        notes = _notes(table)
        headings, rows = _filled(table, notes, by)
        lines += [f"### {_escape_markdown(_title(table))}", ""]
        lines.append(f"| {' | '.join(_escape_markdown(_heading(table, name)) for name in headings)} |")
        lines.append(f"|{'|'.join('---' if name in _TEXTS else '---:' for name in headings)}|")
        for row, cells in zip(table.rows, rows, strict=True):
            shown = [_escape_markdown(cells[name]) for name in headings]
            if row.origin == "ours":
                shown[headings.index("method")] = f"**{shown[headings.index('method')]}**"
            lines.append(f"| {' | '.join(shown)} |")
        lines.append("")
        lines += [f"- {_escape_markdown(f'[{number}] {note}')}" for note, number in notes.items()]
        lines += [""] if notes else []
    return "\n".join(lines)


def _latex(leaderboard: Leaderboard, by: str) -> str:
    """Render one ``table`` environment for each table, with the rules of the package booktabs."""
    lines: list[str] = []
    for table in leaderboard.tables:
        notes = _notes(table)
        headings, rows = _filled(table, notes, by)
        lines += [r"\begin{table}", r"\centering", rf"\caption{{{_escape_latex(_title(table))}}}"]
        lines += [rf"\begin{{tabular}}{{{''.join('l' if name in _TEXTS else 'r' for name in headings)}}}", r"\toprule"]
        lines.append(" & ".join(_escape_latex(_heading(table, name)) for name in headings) + r" \\")
        lines.append(r"\midrule")
        for row, cells in zip(table.rows, rows, strict=True):
            shown = [_escape_latex(cells[name]) for name in headings]
            if row.origin == "ours":
                shown[headings.index("method")] = rf"\textbf{{{shown[headings.index('method')]}}}"
            lines.append(" & ".join(shown) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [rf"\par\footnotesize {_escape_latex(f'[{number}] {note}')}" for note, number in notes.items()]
        lines += [r"\end{table}", ""]
    return "\n".join(lines)


_LATEX = {
    **{character: rf"\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"},
    **{">": r"\textgreater{}", "–": "--", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "[": "{[}", "]": "{]}"},
}


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|~#&])", r"\\\1", text)


def _json(leaderboard: Leaderboard) -> str:
    return json.dumps(_records(leaderboard), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _csv(leaderboard: Leaderboard) -> str:
    records = _records(leaderboard)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def _records(leaderboard: Leaderboard) -> list[dict[str, Any]]:
    return [_record(table, row) for table in leaderboard.tables for row in table.rows]


def _record(table: LeaderboardTable, row: LeaderboardRow) -> dict[str, Any]:
    """Make one flat record for programs; None if a value does not apply."""
    entry, published, protocol = row.entry, row.published, table.protocol
    return {
        "rank": row.rank and row.rank.low,
        "rank_high": row.rank and row.rank.high,
        "method": row.method,
        "dataset": table.dataset,
        "subset": table.subset,
        "protocol": table.protocol_name,
        "keypoints": protocol.keypoints if protocol else published and published.keypoints,
        "normalizer": protocol.normalizer if protocol else published and published.normalizer,
        "grid_px": protocol and protocol.grid_px,
        "error_pct": row.error_pct,
        "ci_low_pct": entry and entry.ci_low_pct,
        "ci_high_pct": entry and entry.ci_high_pct,
        "threshold_pct": published.threshold_pct if published else protocol and protocol.threshold_pct,
        "auc_pct": entry.auc and entry.auc.pct if entry else published and published.auc_pct,
        "failure_rate_pct": entry.failure_rate and entry.failure_rate.pct if entry else published and published.fr_pct,
        "p90_pct": entry and entry.p90 and entry.p90.pct,
        "p95_pct": entry and entry.p95 and entry.p95.pct,
        "p99_pct": entry and entry.p99 and entry.p99.pct,
        "num_images": entry and entry.num_images,
        "num_excluded": sum(entry.excluded.values()) if entry else None,
        "origin": row.origin,
        "year": published.year if published else entry and entry.created.year,
        "num_params": entry and entry.num_params,
        "multiply_adds": entry and entry.multiply_adds,
        "latency_ms": entry and entry.latency_ms,
        "epochs": entry and entry.epochs,
        "num_seeds": row.seeds and row.seeds.num,
        "seeds_mean_pct": row.seeds and row.seeds.mean_pct,
        "seeds_sd_pct": row.seeds and row.seeds.sd_pct,
        "train_s": entry and entry.train_s,
        "num_test_evaluations": entry and entry.test_looks,
        "run_id": entry and entry.run_id,
        "entry_id": row.entry_id,
        "source": published and published.source,
        "note": "; ".join(filter(None, (row.no_rank_reason, row.note))),
    }
