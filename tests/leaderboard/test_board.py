from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rcn_search.evaluation.metrics import NON_FINITE_PREDICTION
from rcn_search.evaluation.protocol import Protocol, rcn2016, subpixel
from rcn_search.leaderboard import board as board_module
from rcn_search.leaderboard.board import Board, Table, build_board, default_board
from rcn_search.leaderboard.entry import Entry, add_entry

Make = Callable[..., Entry]
AFLW = rcn2016("aflw", "test", "five")


@pytest.fixture
def empty(tmp_path: Path) -> str:
    """A board with a published folder of its own, which is empty."""
    (tmp_path / "published").mkdir()
    return str(tmp_path)


def table_of(board: Board, protocol: Protocol | None, dataset: str = "aflw", subset: str = "test") -> Table:
    (table,) = (
        each for each in board.tables if (each.dataset, each.subset, each.protocol) == (dataset, subset, protocol)
    )
    return table


def ranks(table: Table) -> list[tuple[int | None, str]]:
    return [(row.rank, row.method) for row in table.rows]


def test_ours_stands_among_the_published(make_entry: Make, tmp_path: Path) -> None:
    add_entry(str(tmp_path), make_entry(method="Mine", error_pct=5.62))
    table = table_of(build_board(str(tmp_path)), AFLW)
    assert ranks(table)[:3] == [(1, "RCN 6 branches, occlusion"), (2, "Mine"), (3, "RCN 6 branches, occlusion, skip")]
    assert [row.origin for row in table.rows[:3]] == ["reported", "ours", "reported"]


def test_ties_are_judged_as_printed(make_entry: Make, empty: str) -> None:
    for method, error_pct in (("a", 5.604), ("b", 5.596), ("c", 5.61), ("d", 5.0)):
        add_entry(empty, make_entry(method=method, error_pct=error_pct))
    assert ranks(build_board(empty).tables[0]) == [(1, "d"), (2, "b"), (2, "a"), (4, "c")]


def test_only_one_protocol_is_ranked_together(make_entry: Make, empty: str) -> None:
    protocols = [
        AFLW,
        rcn2016("afw", "test", "five"),
        rcn2016("aflw", "other", "five"),
        subpixel("aflw", "test", "five"),
        AFLW.model_copy(update={"box_source": "detector"}),
    ]
    for protocol in protocols:
        add_entry(empty, make_entry(protocol=protocol))
    board = build_board(empty)
    assert {table.protocol for table in board.tables} == set(protocols)
    assert all([row.rank for row in table.rows] == [1] for table in board.tables)


def test_a_reported_row_without_a_protocol_is_never_ranked(tmp_path: Path) -> None:
    table = table_of(build_board(str(tmp_path)), None)
    assert {row.method for row in table.rows} == {"TSPM", "CDM", "ESR", "RCPR", "SDM", "TCDCN"}
    assert {row.rank for row in table.rows} == {None}
    assert table.protocol_name == "not stated"


def test_a_method_that_left_images_out_is_not_ranked(make_entry: Make, empty: str) -> None:
    add_entry(empty, make_entry(method="cheat", error_pct=1.0, excluded={NON_FINITE_PREDICTION: 1}))
    add_entry(empty, make_entry(method="fair", excluded={"normaliser under 1 px": 1}))
    table = build_board(empty).tables[0]
    assert ranks(table) == [(None, "cheat"), (1, "fair")]
    assert table.rows[0].unranked == "no rank: 1 images without a finite prediction"


def test_tables_with_our_rows_come_first(make_entry: Make, tmp_path: Path) -> None:
    add_entry(str(tmp_path), make_entry(protocol=rcn2016("zoo", "test", "five")))
    board = build_board(str(tmp_path))
    assert board.tables[0].dataset == "zoo"
    assert board.tables[1].dataset == "300w"


def test_one_data_set_can_be_picked(tmp_path: Path) -> None:
    board = build_board(str(tmp_path))
    assert {table.subset for table in board.only("300w").tables} == {"common", "challenging", "full"}
    assert {table.subset for table in board.only("300w", "full").tables} == {"full"}
    assert board.only("nowhere").tables == ()


def test_what_cannot_be_shown_is_told(make_entry: Make, empty: str) -> None:
    add_entry(empty, make_entry())
    (Path(empty) / "entries" / "x.json").write_text("{")
    (Path(empty) / "published" / "x.csv").write_text("method\nM\n")
    board = build_board(empty)
    assert [len(table.rows) for table in board.tables] == [1]
    assert [name in problem for name, problem in zip(("x.json", "x.csv"), board.problems, strict=True)] == [True, True]


def test_where_the_board_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RCN_SEARCH_BOARD", raising=False)
    assert default_board() == str(board_module.REPOSITORY_BOARD)
    (tmp_path / "leaderboard").mkdir()
    assert default_board() == "leaderboard"
    monkeypatch.setenv("RCN_SEARCH_BOARD", "s3://bucket/board")
    assert default_board() == "s3://bucket/board"


def test_no_board_is_an_error_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RCN_SEARCH_BOARD", raising=False)
    monkeypatch.setattr(board_module, "REPOSITORY_BOARD", tmp_path / "none")
    with pytest.raises(ValueError, match=r"--board or \$RCN_SEARCH_BOARD"):
        default_board()
