from __future__ import annotations

import numpy as np
import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.keypoints import FIVE
from rcn_search.leaderboard.external import csv_format
from rcn_search.leaderboard.external.csv_format import parse_csv

HEADER = "image,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5"
NUMBERS = "1.5,2,3,4.25,5,6,7,8,9,10"
POINTS = [[1.5, 2], [3, 4.25], [5, 6], [7, 8], [9, 10]]


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\na/1.png,{NUMBERS}\n\nb.png{',' * 10}\n",
        f'{HEADER}\r\n"a/1.png",{NUMBERS}\r\nb.png,{",".join(["nan"] * 10)}\r\n',
        f"{HEADER}\ra/1.png,{NUMBERS}\rb.png{',' * 10}\r",
        f"{HEADER}\na/1.png,{NUMBERS}\nb.png{',' * 10}\n{',' * 10}\n".replace(",", ";"),
        f"{HEADER}\na/1.png,{NUMBERS}\nb.png{',' * 10}\n".replace(",", ";").replace(".5", ",5").replace(".25", ",25"),
        f"{HEADER}\na/1.png,{NUMBERS}\nb.png{',' * 10}\n".replace(",", "\t"),
        f"{HEADER},\na/1.png,{NUMBERS},\nb.png{',' * 10},\n",
        f"{HEADER}\na/1.png,{NUMBERS},\nb.png{',' * 10},,\n",
        f",{HEADER}\n0,a/1.png,{NUMBERS}\n1,b.png{',' * 10}\n",
        f"{HEADER},score\na/1.png,{NUMBERS},0.5\nb.png{',' * 10},0.1\n",
        f' {HEADER.replace(",", ", ")}\na/1.png , {NUMBERS.replace(",", ", ")}\n"b.png"{"," * 10}',
        f'{HEADER}\na/1.png,"1,5",2,3,"4,25",5,6,7,8,9,10\nb.png{"," * 10}',
    ],
)
def test_parse_csv_reads_separators_and_decimal_marks(text: str) -> None:
    faces = parse_csv(text, FIVE).faces
    assert list(faces) == ["a/1.png", "b.png"]
    np.testing.assert_array_equal(faces["a/1.png"], POINTS)
    assert np.isnan(faces["b.png"]).all()


def test_parse_csv_notes_columns_that_are_not_read() -> None:
    assert parse_csv(f"{HEADER},w,h\na,{NUMBERS},1,2", FIVE).notes == ["columns not read: w, h"]
    assert parse_csv(f"{HEADER}\na,{NUMBERS}", FIVE).notes == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("image x1 y1", "the first line has no comma, semicolon or tab"),
        (f"a.png,{NUMBERS}\n", "the first line has numbers; it must be a header"),
        (f"{HEADER},q", "unknown columns in the header, remove or rename them: q"),
        ('image,"x1', "not a CSV file"),
    ],
)
def test_parse_csv_refused_header_shows_the_expected_one(text: str, message: str) -> None:
    with pytest.raises(
        RcnSearchError, match=rf"{message}.*\. Expected: image,x1,y1,x2,y2,…,x5,y5 in any order"
    ) as error:
        parse_csv(text, FIVE)
    assert str(error.value).count("Expected") == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "there are no predictions in it"),
        ("b,1\n", r"^line 2: 2 values; the header has 11$"),
        (f"b,{NUMBERS},3\n", "^line 2: 12 values; the header has 11; decimal commas need another separator"),
        (f"\n\nb,{NUMBERS}\n\nb,{NUMBERS}\n", "^line 6: image 'b' occurs twice"),
        (f'"b,{NUMBERS}\nc,{NUMBERS}', "^line 2: not a CSV file: unexpected end of data"),
        (f"b,{NUMBERS.replace('3', 'three')}", "^line 2, image 'b': 'three' is not a number"),
        (f",{NUMBERS}", "^line 2: '' in place of the name of an image"),
    ],
)
def test_parse_csv_refused_lines_are_named(lines: str, message: str) -> None:
    with pytest.raises(RcnSearchError, match=message):
        parse_csv(f"{HEADER}\n{lines}", FIVE)


def test_parse_csv_thousands_of_faults_are_counted() -> None:
    with pytest.raises(RcnSearchError, match=r"line 11: 2 values; the header has 11; and 4,990 more faults$") as error:
        parse_csv(HEADER + "\nb,1" * 5000, FIVE)
    assert len(str(error.value)) < 600


def test_parse_csv_too_many_or_too_long_lines_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_format, "MAX_LINE_CHARACTERS", 50)
    with pytest.raises(RcnSearchError, match="line 2 has more than 50 characters"):
        parse_csv(f"{HEADER}\n{'a' * 51}", FIVE)
    monkeypatch.setattr(csv_format, "MAX_LINES", 3)
    with pytest.raises(RcnSearchError, match="there are more than 3 lines"):
        parse_csv(f"{HEADER}\n\n\n\na,{NUMBERS}", FIVE)
