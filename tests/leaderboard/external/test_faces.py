from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.leaderboard.external import faces
from rcn_search.leaderboard.external.faces import FaceCollector, is_number


def collect(*coordinates: Any) -> Any:
    collector = FaceCollector(num_points=len(coordinates[0]) // 2)
    for number, values in enumerate(coordinates, start=1):
        collector.add(f"line {number}", f"{number}.png", values)
    return [points_k2.tolist() for points_k2 in collector.finish().values()]


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3), (2.5, 2.5), ("2.5", 2.5), (" -.5e1 ", -5), ("+7", 7), ("1,25", 1.25), ("2.", 2), (1e6, 1e6), (-1e6, -1e6)],
)
def test_face_collector_reads_numbers(value: object, number: float) -> None:
    assert collect([value, 4]) == [[[number, 4.0]]]
    assert collect(["4", value]) == [[[4.0, number]]]


@pytest.mark.parametrize("value", [None, "", " ", "nan", "NaN", "null", "N/A", float("nan"), float("inf"), "-inf"])
def test_face_collector_reads_no_prediction(value: object) -> None:
    """A point of which one coordinate is missing is missing whole."""
    assert np.isnan(collect([value, 4, 5, 6])[0][0]).all()
    assert collect(["4", value, "5", "6"])[0][1] == [5, 6]


@pytest.mark.parametrize(
    "value", [True, False, "1_0", "two", "0x10", "１２", "1.5.2", "1 2", "1\n2", [1], {}, "1,234.5"]
)
def test_face_collector_refuses_what_is_no_number(value: object) -> None:
    for other in (4, "4"):
        with pytest.raises(RcnSearchError, match=r"^line 1, image '1\.png': .* is not a number$"):
            collect([value, other])


@pytest.mark.parametrize("value", [1e30, -1e300, "1e30", "-1000001", 10**400])
def test_face_collector_refuses_points_in_no_image(value: object) -> None:
    with pytest.raises(RcnSearchError, match=r"^line 1, image '1\.png': .*(point 2 is at|is in no image)"):
        collect([1, 2, 4, value])


def test_face_collector_refuses_two_decimal_marks() -> None:
    message = r"line 2, image '2.png': '1,5' has a decimal ',', but line 1 has a decimal '.'"
    with pytest.raises(RcnSearchError, match=message):
        collect(["1.5", "2"], ["1,5", "2"])
    with pytest.raises(RcnSearchError, match=r"line 3, image '3.png': '1.5' .* but line 2 has a decimal ','"):
        collect(["1", "2"], ["1,5", "2"], ["1.5", "2"])
    with pytest.raises(RcnSearchError, match=r"line 1, image '1.png': '2.5' .* but line 1 has a decimal ','"):
        collect(["1,5", "2.5"])


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (None, "None in place of the name of an image"),
        (5, "5 in place of the name"),
        ("  ", "'  ' in place of the name"),
        ("a\x1b[2J", r"has control characters"),
        ("a" * 301, "the name of the image has 301 characters; at most 300"),
        ("a.png", "image 'a.png' occurs twice"),
    ],
)
def test_face_collector_refuses_names(name: object, problem: str) -> None:
    collector = FaceCollector(num_points=1)
    collector.add("line 1", "a.png", [1, 2])
    collector.add("line 2", name, [1, 2])
    with pytest.raises(RcnSearchError, match=f"^line 2: .*{problem}") as error:
        collector.finish()
    assert "\x1b" not in str(error.value)


def test_face_collector_describes_ten_faults_and_counts_the_others() -> None:
    with pytest.raises(RcnSearchError, match=r"line 10, image .* is not a number; and 4,990 more faults$") as error:
        collect(*[["x", "y"]] * 5000)
    assert len(str(error.value)) < 1000


def test_face_collector_too_many_faces_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "MAX_FACES", 2)
    assert len(collect([1, 2], [1, 2])) == 2
    with pytest.raises(RcnSearchError, match="more than 2 faces of 1 points; split the file"):
        collect([1, 2], [1, 2], [1, 2])
    monkeypatch.setattr(faces, "MAX_NUMBERS", 4)
    with pytest.raises(RcnSearchError, match="more than 1 faces of 2 points"):
        collect([1, 2, 3, 4], [1, 2, 3, 4])


def test_face_collector_without_faces_is_refused() -> None:
    with pytest.raises(RcnSearchError, match="there are no predictions in it"):
        FaceCollector(num_points=1).finish()


def test_is_number_is_strict() -> None:
    assert [text for text in ("1", " 2.5", "1e3", "x1", "", "nan", "1_0", "a.png") if is_number(text)] == [
        *("1", " 2.5", "1e3")
    ]
