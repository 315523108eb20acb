"""A small table of text with remarks, for the terminal, as Markdown, or as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

Format = Literal["table", "markdown", "csv"]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table.

    Attributes:
        title: Above it.
        columns: Names; those in ``wide`` hold text and are set to the left.
        rows: Text of each cell.
        remarks: Lines below it; not part of the CSV.
        wide: Names of columns of text.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()
    wide: tuple[str, ...] = ()

    def print(self, console: Console) -> None:
        """On a terminal."""
        table = Table(title=self.title, title_justify="left", box=None, pad_edge=False)
        for name in self.columns:
            table.add_column(name, justify="left" if name in self.wide else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*map(Text, row))
        console.print(table)
        for remark in self.remarks:
            console.print(Text(remark), soft_wrap=True)

    def render(self, format: Literal["markdown", "csv"]) -> str:
        """As a document."""
        if format == "csv":
            stream = io.StringIO()
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerows([self.columns, *self.rows])
            return stream.getvalue()
        ruler = ["---" if name in self.wide else "--:" for name in self.columns]
        lines = [f"**{_escaped(self.title)}**", "", _line(self.columns), _line(ruler), *map(_line, self.rows)]
        if self.remarks:
            lines += ["", *(f"- {_escaped(remark)}" for remark in self.remarks)]
        return "\n".join(lines) + "\n"


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return "| " + " | ".join(map(_escaped, cells)) + " |"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
