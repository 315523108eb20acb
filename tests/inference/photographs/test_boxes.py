from __future__ import annotations

from pathlib import Path

import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.inference.photographs.boxes import match_boxes, read_boxes
from rcn_search.inference.photographs.listing import Photo

PHOTOS = [Photo("in/a/1.jpg", "a/1.jpg"), Photo("in/b/1.jpg", "b/1.jpg"), Photo("in/b/2.jpg", "b/2.jpg")]


def write(tmp_path: Path, text: str) -> str:
    (tmp_path / "boxes.csv").write_text(text)
    return str(tmp_path / "boxes.csv")


def test_read_boxes_collects_the_faces_of_each_image(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffimage,x,y,Width,height\na.jpg,1,2,3,4\n\na.jpg,-5,0.5,6,7\nb\\c.jpg,1,2,3,4\n")
    assert read_boxes(path) == {"a.jpg": [(1, 2, 3, 4), (-5, 0.5, 6, 7)], "b/c.jpg": [(1, 2, 3, 4)]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg,1,2,3,4\n", "the first line must be image,x,y,width,height"),
        ("", "the first line must be"),
        (
            "image,x,y,width,height\na,1,2,3\nb,1,2,3,x\nc,1,2,0,4\n,1,2,3,4\nd,nan,1,2,3",
            "line 2 is not .*line 3 is not",
        ),
        ("image,x,y,width,height\na,1,2,0,4\n", "line 2 has no image, or a box without area"),
        ('image,x,y,width,height\n"a,1\n', "is not a CSV file"),
    ],
)
def test_read_boxes_refuses_other_text(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RcnSearchError, match=rf"boxes\.csv.*{message}"):
        read_boxes(write(tmp_path, text))


def test_match_boxes_by_name_or_end_of_the_path() -> None:
    boxes = {"in/a/1.jpg": [(1.0, 2.0, 3.0, 4.0)], "b/1.jpg": [(5.0, 6.0, 7.0, 8.0)], "2.jpg": [], "other.jpg": []}
    assert match_boxes(boxes, PHOTOS) == {
        "in/a/1.jpg": boxes["in/a/1.jpg"],
        "in/b/1.jpg": boxes["b/1.jpg"],
        "in/b/2.jpg": [],
    }


def test_match_boxes_ambiguous_or_no_name_is_refused() -> None:
    with pytest.raises(RcnSearchError, match=r"'1\.jpg' may be those of in/a/1\.jpg, in/b/1\.jpg: write more"):
        match_boxes({"1.jpg": []}, PHOTOS)
    with pytest.raises(RcnSearchError, match=r"none of the 1 images .* names 9\.jpg; the photographs are in/a"):
        match_boxes({"9.jpg": []}, PHOTOS)
