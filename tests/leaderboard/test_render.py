from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from rcn_search.leaderboard.board import Board, build_board
from rcn_search.leaderboard.entry import Entry, add_entry
from rcn_search.leaderboard.render import print_board, render

HOSTILE = "[red]RCN[/red] | `x` <script> *y* \\"


@pytest.fixture
def board(make_entry: Callable[..., Entry], tmp_path: Path) -> Board:
    add_entry(str(tmp_path), make_entry(method=HOSTILE, excluded={"normaliser under 1 px": 3}, test_looks=7))
    (tmp_path / "entries" / "x.json").write_text("[bold]{")
    return build_board(str(tmp_path))


def terminal(board: Board, *, width: int = 140, colour: bool = False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=colour, color_system="standard" if colour else None)
    print_board(board, console)
    return stream.getvalue()


def test_the_terminal_shows_a_row_whole(board: Board) -> None:
    text = terminal(board)
    (line,) = (line for line in text.splitlines() if "5.31–5.56" in line)
    assert f"{HOSTILE} [1]" in line
    cells = line.replace(f"{HOSTILE} [1]", "").split()
    assert cells == ["1", "5.43", "5.31–5.56", "2,995", "310", "k", "15", "7", "ours"]
    assert "[1] 3 images excluded: normaliser under 1 px" in text
    assert "AFLW test · rcn2016: five points, 80×80 whole pixels" in text
    assert re.search(r"warning: .*x\.json is left out", text)


def test_ours_is_highlighted(board: Board) -> None:
    text = terminal(board, colour=True)
    assert re.search(r"\x1b\[1;32m[^\n]*5\.43", text)
    assert not re.search(r"\x1b\[1;32m[^\n]*5\.60", text)


def test_a_narrow_terminal_keeps_the_method_readable(board: Board) -> None:
    text = terminal(board, width=80)
    assert max(map(len, text.splitlines()[:40])) <= 80
    assert re.search(r"# +method +error % +95 % CI +epochs +looks", text)
    assert re.search(r"# +method +error % +95 % CI +images +params +epochs +looks +origin", terminal(board, width=100))


def test_doubts_are_footnotes(board: Board) -> None:
    text = terminal(board)
    (mark,) = set(re.findall(r"RCN 4 branches, mask 0001 (\[\d+\])", text.split("AFW test")[0]))
    assert f"{mark} Mask (coarsest to finest branch) assigned from memory" in text


def test_an_empty_board_says_so() -> None:
    empty = Board(tables=())
    assert "The board is empty" in terminal(empty)
    assert json.loads(render(empty, "json")) == []


def test_json_rows_have_what_readers_need(board: Board) -> None:
    rows = json.loads(render(board, "json"))
    mine = rows[0]
    assert {key: mine[key] for key in ("rank", "method", "dataset", "subset", "protocol", "error_pct", "origin")} == {
        **{"rank": 1, "method": HOSTILE, "dataset": "aflw", "subset": "test"},
        **{"protocol": "rcn2016", "error_pct": 5.433, "origin": "ours"},
    }
    assert (mine["num_excluded"], mine["test_looks"], mine["ci_low_pct"]) == (3, 7, 5.31)
    assert len(rows) == 1 + 94
    assert {row["origin"] for row in rows[1:]} == {"reported"}
    assert all(isinstance(row["protocol"], str) for row in rows)


def test_csv_holds_the_same_rows(board: Board) -> None:
    rows = list(csv.DictReader(io.StringIO(render(board, "csv"))))
    expected = json.loads(render(board, "json"))
    assert rows == [{key: "" if value is None else str(value) for key, value in row.items()} for row in expected]


def test_markdown_cannot_be_broken_out_of(board: Board) -> None:
    lines = render(board, "markdown").splitlines()
    assert lines[0].startswith("### AFLW test · rcn2016")
    table = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line.replace("\\\\", ""))) for line in table} == {10}
    mine = table[2]
    assert r"**\[red\]RCN\[/red\] \| \`x\` \<script\> \*y\* \\" in mine
