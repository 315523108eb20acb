"""Render the leaderboard as Markdown, LaTeX, CSV or JSON text."""

from __future__ import annotations

import re
from typing import Any, Literal

from rcn_search.leaderboard.render import TEXT_COLUMNS, heading_text, number_notes, row_cells, table_title
from rcn_search.leaderboard.table import Leaderboard, LeaderboardRow, LeaderboardTable
from rcn_search.printable import csv_text, escape_controls, json_text

Format = Literal["markdown", "latex", "csv", "json"]


def render(leaderboard: Leaderboard, output: Format, *, by_attribute: str = "") -> str:
    """Render the leaderboard, without its problems, as text that ends in a newline.

    ``by_attribute`` shows, in Markdown and LaTeX, the error of each class of an attribute in place of other columns.
    """
    if output in ("markdown", "latex"):
        return {"markdown": _markdown, "latex": _latex}[output](leaderboard, by_attribute)
    records = [_record(table, row) for table in leaderboard.tables for row in table.rows]
    if output == "json":
        return json_text(records)
    return csv_text([list(records[0]) if records else [], *(list(record.values()) for record in records)])


def _markdown(leaderboard: Leaderboard, by: str) -> str:
    lines: list[str] = []
    for table in leaderboard.tables:
        notes = number_notes(table)
        headings, rows = row_cells(table, notes, by)
        lines += [
            f"### {_escape_markdown(table_title(table))}\n",
            f"| {' | '.join(_escape_markdown(heading_text(table, name)) for name in headings)} |",
            f"|{'|'.join('---' if name in TEXT_COLUMNS else '---:' for name in headings)}|",
        ]
        for row, cells in zip(table.rows, rows, strict=True):
            shown = {name: _escape_markdown(cells[name]) for name in headings}
            if row.origin == "ours":
                shown["method"] = f"**{shown['method']}**"
            lines.append(f"| {' | '.join(shown.values())} |")
        lines.append("")
        lines += [f"- {_escape_markdown(f'[{number}] {note}')}" for note, number in notes.items()]
        lines += [""] if notes else []
    return "\n".join(lines)


def _latex(leaderboard: Leaderboard, by: str) -> str:
    """Render one ``table`` environment for each table, with the rules of the package booktabs."""
    lines: list[str] = []
    for table in leaderboard.tables:
        notes = number_notes(table)
        headings, rows = row_cells(table, notes, by)
        alignment = "".join("l" if name in TEXT_COLUMNS else "r" for name in headings)
        titles = " & ".join(_escape_latex(heading_text(table, name)) for name in headings)
        lines += [r"\begin{table}", r"\centering", rf"\caption{{{_escape_latex(table_title(table))}}}"]
        lines += [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", rf"{titles} \\", r"\midrule"]
        for row, cells in zip(table.rows, rows, strict=True):
            shown = {name: _escape_latex(cells[name]) for name in headings}
            if row.origin == "ours":
                shown["method"] = rf"\textbf{{{shown['method']}}}"
            lines.append(" & ".join(shown.values()) + r" \\")
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
    return "".join(_LATEX.get(character, character) for character in escape_controls(text))


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|~#&])", r"\\\1", escape_controls(text))


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
        "coverage_pct": entry and entry.coverage and entry.coverage.pct,
        "radius_pct": entry and entry.radius and entry.radius.pct,
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
        "num_test_evaluations": entry and entry.num_test_evaluations,
        "run_id": entry and entry.run_id,
        "entry_id": row.entry_id,
        "source": published and published.source,
        "note": "; ".join(filter(None, (row.no_rank_reason, row.note))),
    }
