from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rcn_search.data.importers.points.coco_schema import other_side, schema_of_coco
from rcn_search.data.shards import DatasetError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "coco.json"


def write(path: Path, skeleton: Any, *, names: tuple[str, ...] = ("left_wing", "right_wing", "tail")) -> None:
    category = {"id": 1, "name": "kite", "keypoints": list(names), "skeleton": skeleton}
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": [category]}))


def test_schema_of_coco_numbers_points_of_the_skeleton_from_1(path: Path) -> None:
    write(path, [[1, 3], [2, 3.0]])
    schema = schema_of_coco(path)
    assert schema.names == ("left_wing", "right_wing", "tail")
    assert [tuple(edge) for edge in schema.edges] == [(0, 2), (1, 2)]


@pytest.mark.parametrize("pair", [[0, 1], [1, 4], [True, 2], ["1", 2], [1.5, 2], [1], [1, 2, 3], 1])
def test_schema_of_coco_refuses_skeleton_of_other_points(path: Path, pair: Any) -> None:
    write(path, [[1, 3], pair])
    with pytest.raises(DatasetError, match=r"skeleton has .*, not two of the 3 points from 1"):
        schema_of_coco(path)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("left_eye", "right_eye"),
        ("eye.R", "eye.L"),
        ("Left Ear", "Right Ear"),
        ("tail", "tail"),
        ("leftmost", "leftmost"),
    ],
)
def test_other_side_exchanges_left_and_right_as_whole_words(name: str, other: str) -> None:
    assert other_side(name) == other
