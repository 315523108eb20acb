"""Text of others in terminals and spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rcn_search.printable import PlainConsole, csv_cell, csv_text, json_text, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b2J\x00\r\x7f", r"\x9b2J\x00\r\x7f"),
        ("a\u202eb\u2066c\u200fd\ufeff", r"a\u202eb\u2066c\u200fd\ufeff"),
        ("half \ud800", r"half \ud800"),
        ("two\nlines\tand é, 顔, \u200d stay", "two\nlines\tand é, 顔, \u200d stay"),
        ("[red]x[/]", "[red]x[/]"),
        ("at http://me:secret@host/x", "at http://host/x"),
    ],
)
def test_printable_escapes_what_a_terminal_obeys(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize("formula", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\n=1", '=cmd|" /C calc"!A0'])
def test_csv_cell_disarms_formulas(formula: str) -> None:
    assert csv_cell(formula) == f"'{formula}"
    ((cell,),) = csv.reader(io.StringIO(csv_text([[formula]])))
    assert cell[0] == "'"


@pytest.mark.parametrize("value", [-3.5, 4, None, "-3.5", "+1e-3", "RCN, 6 branches", "a=b", ""])
def test_csv_cell_keeps_numbers_and_text(value: object) -> None:
    assert csv_cell(value) == value


def printed(*arguments: object, **options: object) -> str:
    """What a console prints on a terminal with colors."""
    stream = io.StringIO()
    console = PlainConsole(file=stream, width=80, force_terminal=True, color_system="standard")
    console.print(*arguments, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def test_plain_console_prints_brackets_and_escapes_as_text() -> None:
    for text in ("w/[/x]/run", "[red]x[/]", ":smile:", "\\[x]"):
        assert text in printed(text, highlight=False)
        assert text in printed(Text(text))
    assert printed("\x1b]0;title\u202eabc", highlight=False) == "\\x1b]0;title\\u202eabc\n"
    assert printed("a", "\x9b2J", highlight=False) == "a \\x9b2J\n"
    assert "\x1b[1m" in printed(Text("bold", style="bold"))  # its own styles are no text of others


def test_plain_console_escapes_what_lies_in_tables() -> None:
    table = Table("\x1bheading", title="\x1btitle")
    table.add_row("a wide row, so that there is room for the escapes")
    table.add_row("\x1b[2J[/x]")
    table.add_row(Text("\x1btext", style="red"))
    table.add_row(Group("\x1bgroup", Panel("\x1bpanel")))
    text = re.sub(r"\x1b\[[0-9;]*m", "", printed(table))
    for part in ("heading", "title", "[2J[/x]", "text", "group", "panel"):
        assert f"\\x1b{part}" in text
    assert "\x1b" not in text


def test_plain_console_hides_passwords() -> None:
    for highlight in (False, True):
        text = printed("error: http://me:secret@127.0.0.1:80/x/1.5 failed", highlight=highlight)
        assert "secret" not in text


def test_command_line_prints_through_plain_consoles() -> None:
    from rcn_search.cli.console import console, errors

    assert isinstance(console, PlainConsole)
    assert isinstance(errors, PlainConsole)


def test_json_text_escapes_and_keeps_every_value() -> None:
    document = {"a": "\x9b\u202eé\U000e0001", "b": [1.5, None]}
    text = json_text(document)
    assert json.loads(text) == document
    assert printable(text) == text
    assert "é" in text
