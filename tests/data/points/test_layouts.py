from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rcn_search.data.importers.points.annotations import Annotation
from rcn_search.data.importers.points.coco_layout import plain_id
from rcn_search.data.importers.points.layouts import read_annotations
from rcn_search.data.shards import DatasetError
from rcn_search.keypoint_schemas.document import parse_schema
from tests.support.points import SCHEMA_TEXT, draw_kites, write_coco, write_labelme

SCHEMA = parse_schema(yaml.safe_load(SCHEMA_TEXT))
POINTS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def read(folder: Path, layout: str) -> list[Annotation]:
    return read_annotations(folder, layout, SCHEMA)[2].annotations


def read_csv(folder: Path, text: str, *, encoding: str = "utf-8") -> list[Annotation]:
    (folder / "points.csv").write_bytes(text.encode(encoding))
    return read(folder, "csv")


@pytest.mark.parametrize(
    "text",
    [
        "image,x1,y1,x2,y2,x3,y3\na.png,1,2,3,4,5,6\n",
        "\ufeffImage;X1;Y1;X2;Y2;X3;Y3\r\na.png;1;2;3;4;5;6\r\n\r\n",
        "filename\tx0\ty0\tx1\ty1\tx2\ty2\na.png\t1\t2\t3\t4\t5\t6",
        "y3,y2,y1,x3,x2,x1,image\n6,4,2,5,3,1,a.png\n",
        "tip_x,tip_y,left_x,left_y,right_x,right_y,image\n5,6,1,2,3,4,a.png\n",
        "image,left.x,left.y,right.x,right.y,tip.x,tip.y\n a.png , 1, 2 ,3,4,5,6\n",
        'image,x_1,y_1,x_2,y_2,x_3,y_3\n"a.png",1e0,2.0,3,4,5,6\n',
    ],
)
def test_csv_headings_of_many_kinds_are_read_by_name(tmp_path: Path, text: str) -> None:
    (found,) = read_csv(tmp_path, text)
    assert (found.image, found.points_k2.tolist(), found.problem) == ("a.png", POINTS, None)


def test_csv_of_utf_16_is_read(tmp_path: Path) -> None:
    (found,) = read_csv(tmp_path, "image,x1,y1,x2,y2,x3,y3\nä.png,1,2,3,4,5,6\n", encoding="utf-16")
    assert found.image == "ä.png"


def test_csv_columns_besides_points(tmp_path: Path) -> None:
    text = "image,x1,y1,v1,x2,y2,v2,x3,y3,v3,xmin,ymin,xmax,ymax,split,group,width,height,by\n"
    rows = "a.png,1,2,2,3,4,0,5,6,1,0,0,8,9,train,dog,640,480,me\nb.png,1,2,2,3,4,,,,,,,,,val,cat,,,me\n"
    first, second = read_csv(tmp_path, text + rows)
    assert np.isnan(first.points_k2).any(1).tolist() == [False, True, False]
    assert (first.box, first.split, first.group, first.size) == ((0, 0, 8, 9), "train", "dog", (640, 480))
    assert np.isnan(second.points_k2).any(1).tolist() == [False, True, True]
    assert (second.box, second.split, second.group, second.size) == (None, "val", "cat", None)
    notes = read_annotations(tmp_path, "csv", SCHEMA)[2].notes
    assert notes == ["points.csv: columns that are not used: by"]


@pytest.mark.parametrize(
    ("heading", "problem"),
    [
        ("photo,x1,y1,x2,y2,x3,y3", "no column 'image'"),
        ("image,x1,y1,x2,y2", "columns for 2 points; the schema 'kite' has 3"),
        ("image,x1,y1,x2,y2,x3,y3,x4,y4", "columns for 4 points; the schema 'kite' has 3"),
        ("image,x1,y1,x2,y2,x4,y4", "not numbered without gaps: 1, 2, 4"),
        ("image,x1,y1,x2,y2,x3", "the point '3' has no column for x or for y"),
        ("image,left_x,left_y,right_x,right_y,tip_x", "the point 'tip' has no column"),
        ("image,left_x,left_y,right_x,right_y", "of which it lacks tip"),
        ("image,left_x,left_y,right_x,right_y,tip_x,tip_y,tail_x,tail_y", "that the schema 'kite' lacks: tail"),
        ("image,x1,y1,x2,y2,x3,x3", "a column twice"),
        ("", "no column 'image'"),
    ],
)
def test_csv_heading_without_the_points_is_an_error(tmp_path: Path, heading: str, problem: str) -> None:
    with pytest.raises(DatasetError, match=problem):
        read_csv(tmp_path, heading + "\na.png,1,2,3,4,5,6\n")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a.png,1,2,3,4,5", "6 cells, the heading has 7"),
        ("a.png,1,2,3,4,5,6,7", "8 cells, the heading has 7"),
        ("a.png,1,2,3,4,5,x", "y of 'tip' is 'x', not a number"),
        ("a.png,1,2,3,4,5,1_0", "y of 'tip' is '1_0', not a number"),
        ("a.png,1,2,3,4,5,inf", "y of 'tip' is inf, not a finite number"),
        ("a.png,1,2,3,4,5,", "y of 'tip' is '', not a number"),
        (",1,2,3,4,5,6", "no image is named"),
        ("a.png,,,,,,", "no point is labeled"),
    ],
)
def test_csv_row_that_is_wrong_has_its_reason(tmp_path: Path, row: str, problem: str) -> None:
    found = read_csv(tmp_path, f"image,x1,y1,x2,y2,x3,y3\nok.png,1,2,3,4,5,6\n{row}\n")
    assert [each.problem for each in found] == [None, problem]
    assert (found[1].row.file, found[1].row.line) == ("points.csv", 3)


def coco(**changes: Any) -> dict[str, Any]:
    return {
        "images": [{"id": "0007", "file_name": "a.png", "width": 9, "height": 8}, {"id": 8.0, "file_name": "b.png"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 1.0,
                "keypoints": [5, 6, 2, 1, 2, 1, 3, 4, 0],
                "bbox": [1, 2, 3, 4],
            },
            {"id": 2, "image_id": 7.0, "category_id": "1", "keypoints": [5, 6, 2, 1, 2, 2, 3, 4, 2]},
            {"id": 3, "image_id": 8, "category_id": 2, "bbox": [0, 0, 5, 5]},
        ],
        "categories": [{"id": 1, "name": "kite", "keypoints": ["tip", "left", "right"]}, {"id": 2, "name": "car"}],
        **changes,
    }


def read_coco(folder: Path, document: Any) -> list[Annotation]:
    (folder / "a.json").write_text(json.dumps(document))
    return read(folder, "coco")


def test_coco_points_are_read_by_name_of_several_in_a_picture(tmp_path: Path) -> None:
    first, second = read_coco(tmp_path, coco())
    assert np.isnan(first.points_k2).any(1).tolist() == [False, True, False]
    assert (first.box, first.size, first.image) == ((1, 2, 3, 4), (9, 8), "a.png")
    assert (second.points_k2.tolist(), second.box) == ([[1, 2], [3, 4], [5, 6]], None)
    assert read_annotations(tmp_path, "coco", SCHEMA)[2].notes == [
        "a.json: 1 annotations of 'car', which does not have the points of the schema"
    ]


def test_coco_category_without_names_has_the_order_of_the_schema(tmp_path: Path) -> None:
    document = coco(categories=[{"id": 1, "name": "kite"}, {"id": 2, "name": "car"}])
    assert read_coco(tmp_path, document)[1].points_k2.tolist() == [[5, 6], [1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([1], "no lists images, annotations, categories"),
        (coco(images=[{"id": 1}, {"id": "01"}]), "the image id '01' is there twice"),
        (coco(images=[{"file_name": "a"}]), "a image without id"),
        (coco(categories=[{"id": 1, "name": "kite", "keypoints": ["a", "b", "c"]}]), "of which it lacks left, right"),
        (coco(annotations=[{"id": 1, "image_id": 7, "category_id": 1}]), "has no keypoints"),
    ],
)
def test_coco_file_that_is_none_is_an_error(tmp_path: Path, document: Any, problem: str) -> None:
    with pytest.raises(DatasetError, match=problem):
        read_coco(tmp_path, document)


def test_plain_id_of_floats_and_padded_ids() -> None:
    assert [plain_id(each) for each in (7, 7.0, "7", "0007", " 7 ")] == [7] * 5
    assert [plain_id(each) for each in ("a7", 7.5, None)] == ["a7", "7.5", "None"]


def labelme(*shapes: dict[str, Any]) -> dict[str, Any]:
    return {"imagePath": "..\\photos\\a.png", "imageWidth": 9, "imageHeight": 8, "shapes": [*shapes]}


def shape(label: str, *points: list[float], group: int | None = None, kind: str = "point") -> dict[str, Any]:
    return {"label": label, "points": [*points], "group_id": group, "shape_type": kind}


def read_shapes(folder: Path, *shapes: dict[str, Any]) -> list[Annotation]:
    (folder / "a.json").write_text(json.dumps(labelme(*shapes)))
    return read(folder, "labelme")


def test_labelme_groups_are_faces_and_rectangles_boxes(tmp_path: Path) -> None:
    first, second = read_shapes(
        tmp_path,
        shape("tip", [5, 6], group=2),
        shape("left", [1, 2], group=1),
        shape("kite", [9, 8], [1, 2], group=1, kind="rectangle"),
        shape("right", [3, 4], group=1),
        shape("sky", [0, 0], [1, 1], [2, 0], kind="polygon"),
    )
    assert (first.row.file, second.row.file) == ("a.json, group 2", "a.json, group 1")
    assert np.isnan(first.points_k2).any(1).tolist() == [True, True, False]
    assert (second.box, second.image, second.size) == ((1, 2, 8, 6), "../photos/a.png", (9, 8))


@pytest.mark.parametrize(
    ("shapes", "problem"),
    [
        ([shape("tail", [1, 2])], "there is no point 'tail'; 'kite' has left, right, tip"),
        ([shape("tip", [1, 2]), shape("tip", [3, 4])], "'tip' is there twice"),
        ([shape("tip")], "has no coordinates"),
        ([shape("tip", [1, 2, 3])], "points that are not x, y"),
        ([shape("tip", [1, 2]), shape("b", [1, 1], [1, 5], kind="rectangle")], "a box of no size: 0x4"),
    ],
)
def test_labelme_face_that_is_wrong_has_its_reason(tmp_path: Path, shapes: list[Any], problem: str) -> None:
    (found,) = read_shapes(tmp_path, *shapes)
    assert found.problem is not None
    assert problem in found.problem


def test_hidden_files_and_data_sets_are_not_read(tmp_path: Path) -> None:
    kites = draw_kites(tmp_path, 3)
    write_labelme(tmp_path, kites)
    (tmp_path / "._kite_000.json").write_bytes(b"\0\5")
    (tmp_path / "K").mkdir()
    for name in ("import_claim.json", "manifest.json"):
        (tmp_path / "K" / name).write_text("{}")
    assert len(read(tmp_path, "labelme")) == 3


def test_source_may_be_one_file(tmp_path: Path) -> None:
    kites = draw_kites(tmp_path, 3)
    write_coco(tmp_path, kites[:1], name="other.json")
    path = write_coco(tmp_path, kites)
    folder, files, content = read_annotations(path, "coco", SCHEMA)
    assert (folder, files, len(content.annotations)) == (tmp_path, ["points.json"], 3)


def test_labelme_file_that_is_damaged_is_one_refused_face(tmp_path: Path) -> None:
    write_labelme(tmp_path, draw_kites(tmp_path, 3))
    (tmp_path / "kite_001.json").write_text('{"shapes": [')
    (tmp_path / "settings.json").write_text("{}")
    problems = {each.row.file: each.problem for each in read(tmp_path, "labelme")}
    assert "is no JSON file" in problems.pop("kite_001.json")
    assert "has no list shapes" in problems.pop("settings.json")
    assert problems == {"kite_000.json": None, "kite_002.json": None}
