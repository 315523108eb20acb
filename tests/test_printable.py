"""Text of others in terminals and spreadsheets."""

from __future__ import annotations

import csv
import io

import pytest

from rcn_search.printable import csv_cell, csv_text, printable


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
