from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcn_search.leaderboard import formats
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
def test_read_external_all_formats_give_the_same_points(tmp_path: Path, name: str, content: Any) -> None:
    faces = read_external(write(tmp_path, name, content))
    assert list(faces) == ["a/1.png", "b.png"]
    np.testing.assert_array_equal(faces["a/1.png"], POINTS)
    assert np.isnan(faces["b.png"]).all()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "first line must be a header"),
        ("a.csv", "b.png,1,2\n", "first line must be a header"),
        ("a.csv", "image,x,y\nb.png,1\n", "line 2 has 2 values; the header has 3"),
        ("a.csv", "image,x,y\nb.png,1,two\n", "the points of 'b.png' are not numbers"),
        ("a.csv", "image,x,y,z\nb.png,1,2,3\n", "are 3 numbers, not pairs"),
        ("a.csv", "image,x,y\nb.png,1,2\nb.png,1,2\n", "'b.png' occurs twice"),
        ("a.csv", 'image,x,y\n"b.png,1,2\n', "not a CSV file"),
        ("a.json", "{", "Expecting property name"),
        ("a.json", "[" * 100_000, "too deeply nested"),
        ("a.json", {}, "no list of images"),
        ("a.json", [1], "neither COCO keypoints nor SPIGA's"),
        ("a.json", [{"landmarks": POINTS}], "face 1 has no imgpath"),
        ("a.json", [{"imgpath": 5, "landmarks": POINTS}], "has '5' in place of an image name"),
        ("a.json", [{"imgpath": "a", "landmarks": [[1, 2], [3]]}], "are not numbers"),
        ("a.json", [{"imgpath": "a", "landmarks": []}], "are 0 numbers"),
        ("a.json", [{"image_id": 3, "keypoints": COCO}], "give a document with images and annotations"),
        ("a.json", [{"image_id": "3", "keypoints": [1, 2]}], "no keypoints in threes"),
        (
            "a.json",
            {"images": [], "annotations": [{"image_id": 3, "keypoints": COCO}]},
            "has '3' in place of an image name",
        ),
    ],
)
def test_read_external_invalid_file_names_the_item(tmp_path: Path, name: str, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"a.*: .*{message}"):
        read_external(write(tmp_path, name, content))


def test_read_external_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = write(tmp_path, "a.csv", "image,x,y\na,1,2\nb,1,2\n")
    monkeypatch.setattr(formats, "MAX_FACES", 1)
    with pytest.raises(ValueError, match="more than 1 faces"):
        read_external(uri)
    monkeypatch.setattr(formats, "MAX_BYTES", 10)
    with pytest.raises(ValueError, match="at most 10 are read"):
        read_external(uri)
