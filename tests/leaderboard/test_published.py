from __future__ import annotations

from pathlib import Path

import pytest

from rcn_search.leaderboard.board import REPOSITORY_BOARD
from rcn_search.leaderboard.published import PublishedRow, load_published

HEADER = "method,year,dataset,subset,keypoints,protocol,normaliser,error_pct,source,note\n"


@pytest.fixture(scope="module")
def rows() -> list[PublishedRow]:
    rows, problems = load_published(str(REPOSITORY_BOARD))
    assert problems == []
    return rows


def errors(rows: list[PublishedRow], method: str, *, keypoints: str = "five") -> list[float]:
    return [row.error_pct for row in rows if row.method == method and row.keypoints == keypoints]


def test_the_papers_four_tables_are_whole(rows: list[PublishedRow]) -> None:
    counts = {table: sum(row.source.endswith(f"Table {table}") for row in rows) for table in (1, 2, 3, 4)}
    assert counts == {1: 2 * 2 * 9, 2: 2 * 13, 3: 2 * 7, 4: 3 * 6}
    assert len(rows) == sum(counts.values())
    assert len({(row.method, row.dataset, row.subset, row.keypoints) for row in rows}) == len(rows)


def test_some_figures_of_each_table(rows: list[PublishedRow]) -> None:
    assert errors(rows, "SumNet 4 branches, mask 1000") == [10.54, 10.63]
    assert errors(rows, "RCN 4 branches, mask 0001") == [46.87, 48.61]
    assert errors(rows, "RCN 6 branches, occlusion") == [5.60, 5.36]
    assert errors(rows, "TCDCN, re-implemented by the RCN authors") == [7.60, 7.87]
    assert errors(rows, "RCN + denoising", keypoints="ibug68") == [4.67, 8.44, 5.41]


def test_68_point_parts_add_up_to_the_whole_and_49_are_marked_doubtful(rows: list[PublishedRow]) -> None:
    for keypoints, consistent in (("ibug68", True), ("ibug49", False)):
        for method in ("RCN", "RCN + denoising"):
            common, challenging, full = errors(rows, method, keypoints=keypoints)
            assert ((554 * common + 135 * challenging) / 689 == pytest.approx(full, abs=0.02)) == consistent
    doubtful = [(row.subset, row.keypoints) for row in rows if row.note.startswith("Doubtful")]
    assert doubtful == [("full", "ibug49")] * 2


def test_only_figures_that_the_paper_measured_have_its_protocol(rows: list[PublishedRow]) -> None:
    for row in rows:
        cited = "not measured by it" in row.note
        assert (row.protocol is None) == cited
        if protocol := row.full_protocol():
            assert (protocol.grid_px, protocol.normaliser) == (80, "eye_centres")


def load(tmp_path: Path, text: str) -> tuple[list[PublishedRow], list[str]]:
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "t.csv").write_text(text)
    return load_published(str(tmp_path))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("M,2016,aflw,test,five,rcn2016,eye_centres,five,S,", "error_pct: "),
        ("M,2016,aflw,test,five,rcn2016,eye_centres,nan,S,", "error_pct: "),
        ("M,2016,aflw,test,five,rcn2016,nose,5,S,", "normaliser: "),
        ("M,2016,aflw,test,five,rcn1999,eye_centres,5,S,", "unknown protocol 'rcn1999'"),
        ("M,2016,aflw,test,five,rcn2016,pupils,5,S,", "normaliser 'pupils' is not that of rcn2016"),
        ("M,2016,aflw,test,five,rcn2016,eye_centres,5,,", "source: "),
        ("M,2016,aflw,test,five,rcn2016,eye_centres,5,S,note,more", "Keys should be strings|None"),
        ("M,2016", "dataset: "),
    ],
)
def test_a_bad_row_is_named_and_the_others_stay(tmp_path: Path, line: str, reason: str) -> None:
    good = "Good,2016,aflw,test,five,rcn2016,eye_centres,5,S,\n"
    rows, problems = load(tmp_path, HEADER + good + line + "\n" + good)
    assert [row.method for row in rows] == ["Good", "Good"]
    assert len(problems) == 1
    assert "t.csv, line 3 is left out: " in problems[0]
    assert any(each in problems[0] for each in reason.split("|"))


def test_a_file_that_is_no_csv_is_named(tmp_path: Path) -> None:
    rows, problems = load(tmp_path, HEADER + '"never closed')
    assert rows == []
    assert "t.csv is left out" in problems[0]
