"""A table of text with remarks, for the terminal, as Markdown, or as CSV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rcn_search.printable import csv_text


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table.

    Attributes:
        remarks: Lines below the table; not part of the CSV.
        text_columns: Names of the columns that are set to the left; the others hold numbers.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()
    text_columns: tuple[str, ...] = ()

    def print(self, console: Console) -> None:
        """Print the table on a terminal."""
        table = Table(title=self.title, title_justify="left", box=None, pad_edge=False)
        for name in self.columns:
            table.add_column(name, justify="left" if name in self.text_columns else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*map(Text, row))
        console.print(table)
        for remark in self.remarks:
            console.print(Text(remark), soft_wrap=True)

    def render(self, format: Literal["markdown", "csv"]) -> str:
        """Render the table as a document."""
        if format == "csv":
            return csv_text([self.columns, *self.rows])
        ruler = ["---" if name in self.text_columns else "--:" for name in self.columns]
        rows = (f"| {' | '.join(map(_escape_markdown, cells))} |" for cells in (self.columns, ruler, *self.rows))
        lines = [f"**{_escape_markdown(self.title)}**", "", *rows]
        if self.remarks:
            lines += ["", *(f"- {_escape_markdown(remark)}" for remark in self.remarks)]
        return "\n".join(lines) + "\n"


def _escape_markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
