from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from rcn_search.leaderboard.location import PROJECT_LEADERBOARD
from rcn_search.leaderboard.published import load_published
from rcn_search.leaderboard.render import print_leaderboard
from rcn_search.leaderboard.render_text import render
from rcn_search.leaderboard.table import Leaderboard, build_leaderboard

HOSTILE = "[red]RCN[/red] | `x` <script> *y* \\"


@pytest.fixture
def leaderboard(add_measured: Callable[..., str], tmp_path: Path) -> Leaderboard:
    more = {"auc": (46.1, 45, 47), "failure_rate": (7.2, 6, 8), "p95": (11.94, 11, 12), "latency_ms": 21.04}
    for seed, error_pct in ((0, 5.433), (1, 5.933)):
        add_measured(
            str(tmp_path),
            np.full(2995, error_pct),
            method=HOSTILE,
            excluded={"normalizer under 1 px": 3},
            num_test_evaluations=7 + seed,
            config={"seed": seed},
            **more,
        )
    (tmp_path / "entries" / "x.json").write_text("[bold]{")
    return build_leaderboard(str(tmp_path))


def terminal(leaderboard: Leaderboard, *, width: int = 180, color: bool = False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=color, color_system="standard" if color else None)
    print_leaderboard(leaderboard, console)
    return stream.getvalue()


def test_print_leaderboard_shows_all_columns(leaderboard: Leaderboard) -> None:
    text = terminal(leaderboard)
    line, _ = (line for line in text.splitlines() if "5.31–5.56" in line)
    assert f"{HOSTILE} [1]" in line
    cells = line.replace(f"{HOSTILE} [1]", "").split()
    assert cells == [
        *("1", "5.43", "5.31–5.56", "5.68", "±", "0.35", "(2)", "46.10", "7.20", "11.94", "2,995"),
        *("310", "k", "21", "15", "7", "ours"),
    ]
    assert re.search(
        r"# +method +error % +95 % CI +seeds +AUC10 % +FR10 % +P95 % +images +params +ms +epochs +evals", text
    )
    assert "[1] 3 images excluded: normalizer under 1 px" in text
    assert "AFLW test · rcn2016: five points, 80×80 whole pixels" in text
    assert re.search(r"warning: .*x\.json is left out", text)


def test_print_leaderboard_highlights_our_rows(leaderboard: Leaderboard) -> None:
    text = terminal(leaderboard, color=True)
    assert re.search(r"\x1b\[1;32m[^\n]*5\.43", text)
    assert not re.search(r"\x1b\[1;32m[^\n]*5\.60", text)


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (60, "# method error % 95 % CI"),
        (80, "# method error % 95 % CI seeds evals"),
        (100, "# method error % 95 % CI seeds params epochs evals"),
        (120, "# method error % 95 % CI seeds images params epochs evals"),
        (160, "# method error % 95 % CI seeds AUC10 % FR10 % P95 % images params ms epochs evals origin"),
    ],
)
def test_print_leaderboard_shows_the_columns_that_leave_room_for_the_method(
    leaderboard: Leaderboard, width: int, columns: str
) -> None:
    lines = terminal(leaderboard.select("aflw", "test"), width=width).splitlines()
    heading = next(number for number, line in enumerate(lines) if " method" in line)
    assert max(map(len, lines[: heading + 30])) <= width
    assert " ".join(lines[heading].split()) == columns
    assert lines[heading].index("error %") - lines[heading].index("method") >= 26


def test_print_leaderboard_limit_shows_best_rows(leaderboard: Leaderboard) -> None:
    stream = io.StringIO()
    print_leaderboard(leaderboard.select("aflw", "test"), Console(file=stream, width=250), limit=1)
    assert stream.getvalue().count(HOSTILE) + stream.getvalue().count("RCN 6 branches, occlusion") == 1
    assert re.search(r"… and \d\d more rows", stream.getvalue())


def test_print_leaderboard_notes_are_footnotes(leaderboard: Leaderboard) -> None:
    text = terminal(leaderboard)
    (mark,) = set(re.findall(r"RCN 4 branches, mask 1111 (\[\d+\])", text.split("AFW test")[0]))
    assert f"{mark} All four branches: the same figures as RCN 4 branches in Table 2" in text


def test_print_leaderboard_empty_says_so() -> None:
    empty = Leaderboard(tables=())
    assert "The leaderboard is empty" in terminal(empty)
    assert json.loads(render(empty, "json")) == []


def test_render_json_has_all_fields(leaderboard: Leaderboard) -> None:
    rows = json.loads(render(leaderboard, "json"))
    mine = rows[0]
    assert {key: mine[key] for key in ("rank", "method", "dataset", "subset", "protocol", "error_pct", "origin")} == {
        **{"rank": 1, "method": HOSTILE, "dataset": "aflw", "subset": "test"},
        **{"protocol": "rcn2016", "error_pct": 5.433, "origin": "ours"},
    }
    assert (mine["num_excluded"], mine["num_test_evaluations"], mine["ci_low_pct"]) == (3, 7, 5.31)
    assert (mine["rank_high"], mine["auc_pct"], mine["num_seeds"], mine["threshold_pct"]) == (1, 46.1, 2, 10)
    assert len(rows) == 2 + len(load_published(str(PROJECT_LEADERBOARD))[0])
    assert {row["origin"] for row in rows if row["entry_id"] is None} == {"reported", "reproduced"}
    assert all(isinstance(row["protocol"], str) for row in rows)


def test_render_csv_has_the_rows_of_json(leaderboard: Leaderboard) -> None:
    rows = list(csv.DictReader(io.StringIO(render(leaderboard, "csv"))))
    expected = json.loads(render(leaderboard, "json"))
    assert rows == [{key: "" if value is None else str(value) for key, value in row.items()} for row in expected]


def test_render_markdown_escapes_names(leaderboard: Leaderboard) -> None:
    lines = render(leaderboard, "markdown").splitlines()
    assert lines[0].startswith("### AFLW test · rcn2016")
    table = lines[2 : lines.index("", 2)]
    assert {len(re.findall(r"(?<!\\)\|", line.replace("\\\\", ""))) for line in table} == {15}
    mine = next(line for line in table if "RCN\\[" in line)
    assert r"**\[red\]RCN\[/red\] \| \`x\` \<script\> \*y\* \\" in mine


def test_render_latex_escapes_names(leaderboard: Leaderboard) -> None:
    text = render(leaderboard, "latex")
    assert r"\textbf{{[}red{]}RCN{[}/red{]} | `x` \textless{}script\textgreater{} *y* \textbackslash{}" in text
    for begin, end in ((r"\begin{table}", r"\end{table}"), (r"\begin{tabular}", r"\end{tabular}"), ("{", "}")):
        escaped = text.replace(r"\{", "").replace(r"\}", "")
        assert escaped.count(begin) == escaped.count(end)
    assert not re.search(r"(?<!\\)[%&#_](?<! & )", text.replace(" & ", ""))
    assert r"AUC10 \%" in text
    assert r"80$\times$80" in text
