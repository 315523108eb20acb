from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from rcn_search.inference.photographs.point_files import write_coco, write_csv, write_json, write_parquet
from rcn_search.inference.photographs.record import FaceRecord, PhotoRecord
from rcn_search.keypoints import FIVE
from rcn_search.leaderboard.external.reading import parse_external

POINTS = [[(k + 0.5 + n, 2.25 * k) for k in range(5)] for n in range(2)]
FACES = [
    FaceRecord(box=(1, 2, 30, 30), score=score, points=points, confidence=[0.5, 0.25, 0.125, 1, 0], radius=radius)
    for points, score, radius in zip(POINTS, (1.5, None), (None, [1.0] * 5), strict=True)
]
RECORDS = [
    PhotoRecord(image="a.jpg", width=40, height=50, faces=FACES[:1]),
    PhotoRecord(image="dir/b.jpg", width=60, height=70, faces=FACES[1:]),
    PhotoRecord(image="none.jpg", width=10, height=10),
    PhotoRecord(image="broken.jpg", error="image is missing"),
]


def text_of(format: str) -> str:
    stream = io.StringIO()
    if format == "csv":
        write_csv(RECORDS, FIVE, stream)
    elif format == "json":
        write_json(RECORDS, FIVE, stream)
    else:
        write_coco(lambda: RECORDS, FIVE, stream)
    return stream.getvalue()


@pytest.mark.parametrize("format", ["csv", "json", "coco"])
def test_points_are_those_that_leaderboard_add_reads(format: str) -> None:
    faces = parse_external(text_of(format).encode(), f"points.{format}", FIVE).faces
    for image, points in zip(("a.jpg", "dir/b.jpg"), POINTS, strict=True):
        np.testing.assert_array_equal(faces[image], points)


def test_write_csv_names_its_columns_and_disarms_formulas() -> None:
    header, line, *_ = text_of("csv").splitlines()
    assert header.startswith("image,x1,y1,x2,y2,")
    assert header.endswith(",confidence5,radius1,radius2,radius3,radius4,radius5")
    assert line == "a.jpg,0.5,0.0,1.5,2.25,2.5,4.5,3.5,6.75,4.5,9.0,1.0,2.0,30.0,30.0,1.5,0.5,0.25,0.125,1.0,0.0,,,,,"
    stream = io.StringIO()
    write_csv([RECORDS[0].model_copy(update={"image": "=a.jpg"})], FIVE, stream)
    assert stream.getvalue().splitlines()[1].startswith("'=a.jpg,")


def test_write_json_has_photographs_without_a_face() -> None:
    listed = json.loads(text_of("json"))
    assert [face["imgpath"] for face in listed] == ["a.jpg", "dir/b.jpg", "none.jpg"]
    assert listed[2] == {"imgpath": "none.jpg", "landmarks": None}
    assert "radius" not in listed[0]
    assert listed[1]["radius"] == [1.0] * 5


def test_write_coco_numbers_images_and_names_points() -> None:
    document = json.loads(text_of("coco"))
    assert [image["file_name"] for image in document["images"]] == ["a.jpg", "dir/b.jpg", "none.jpg"]
    assert [(face["id"], face["image_id"]) for face in document["annotations"]] == [(1, 1), (2, 2)]
    assert document["categories"][0]["keypoints"] == list(FIVE.names)
    assert document["categories"][0]["skeleton"] == [[1, 2], [4, 5]]


def test_write_parquet_has_a_row_for_each_face(tmp_path: Path) -> None:
    write_parquet(RECORDS, FIVE, str(tmp_path / "p.parquet"))
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert [row["image"] for row in rows] == ["a.jpg", "dir/b.jpg"]
    assert rows[1]["points"] == [list(point) for point in POINTS[1]]
    assert (rows[0]["radius"], rows[1]["radius"]) == (None, [1.0] * 5)
