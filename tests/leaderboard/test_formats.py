from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcn_search.leaderboard import formats as foreign
from rcn_search.leaderboard.formats import base as answers
from rcn_search.leaderboard.formats import read_external

POINTS = [[1.5, 2.0], [3.0, 4.25]]
COCO = [1.5, 2.0, 2, 3.0, 4.25, 0]


def write(folder: Path, name: str, content: Any) -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "image,x1,y1,x2,y2\na/1.png,1.5,2.0,3.0,4.25\n\nb.png,,,,\n"),
        ("a.csv", '\ufeffimage,x1,y1,x2,y2\r\n"a/1.png",1.5,2.0,3.0,4.25\r\nb.png,nan,nan,nan,nan\r\n'),
        (
            "a.json",
            [
                {"imgpath": "a/1.png", "landmarks": POINTS, "bbox": 1},
                {"imgpath": "b.png", "landmarks": [["nan"] * 2] * 2},
            ],
        ),
        ("a.json", [{"image_id": "a/1.png", "keypoints": COCO}, {"image_id": "b.png", "keypoints": ["nan"] * 6}]),
        (
            "a.json",
            {
                "images": [{"id": 7, "file_name": "a/1.png"}, {"id": 8, "file_name": "b.png"}],
                "annotations": [{"image_id": 7, "keypoints": COCO}, {"image_id": 8, "keypoints": ["nan"] * 6}],
            },
        ),
    ],
)
def test_every_format_says_the_same(tmp_path: Path, name: str, content: Any) -> None:
    found = read_external(write(tmp_path, name, content))
    assert list(found) == ["a/1.png", "b.png"]
    np.testing.assert_array_equal(found["a/1.png"], POINTS)
    assert np.isnan(found["b.png"]).all()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "first line must be a heading"),
        ("a.csv", "b.png,1,2\n", "first line must be a heading"),
        ("a.csv", "image,x,y\nb.png,1\n", "line 2 has 2 values; the heading has 3"),
        ("a.csv", "image,x,y\nb.png,1,two\n", "the points of 'b.png' are not numbers"),
        ("a.csv", "image,x,y,z\nb.png,1,2,3\n", "are 3 numbers, not pairs"),
        ("a.csv", "image,x,y\nb.png,1,2\nb.png,1,2\n", "'b.png' stands twice"),
        ("a.csv", 'image,x,y\n"b.png,1,2\n', "no CSV"),
        ("a.json", "{", "Expecting property name"),
        ("a.json", "[" * 100_000, "too deeply nested"),
        ("a.json", {}, "no list of images"),
        ("a.json", [1], "neither COCO keypoints nor SPIGA's"),
        ("a.json", [{"landmarks": POINTS}], "face 1 has no imgpath"),
        ("a.json", [{"imgpath": 5, "landmarks": POINTS}], "no name of an image but '5'"),
        ("a.json", [{"imgpath": "a", "landmarks": [[1, 2], [3]]}], "are not numbers"),
        ("a.json", [{"imgpath": "a", "landmarks": []}], "are 0 numbers"),
        ("a.json", [{"image_id": 3, "keypoints": COCO}], "give a document with images and annotations"),
        ("a.json", [{"image_id": "3", "keypoints": [1, 2]}], "no keypoints in threes"),
        ("a.json", {"images": [], "annotations": [{"image_id": 3, "keypoints": COCO}]}, "no name of an image but '3'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, name: str, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"a.*: .*{message}"):
        read_external(write(tmp_path, name, content))


def test_input_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = write(tmp_path, "a.csv", "image,x,y\na,1,2\nb,1,2\n")
    monkeypatch.setattr(answers, "MAX_FACES", 1)
    with pytest.raises(ValueError, match="more than 1 faces"):
        read_external(uri)
    monkeypatch.setattr(foreign, "MAX_BYTES", 10)
    with pytest.raises(ValueError, match="at most 10 are read"):
        read_external(uri)
