from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.keypoints import FIVE
from rcn_search.leaderboard.external import json_formats
from rcn_search.leaderboard.external.faces import ExternalFile
from rcn_search.leaderboard.external.json_formats import parse_json

POINTS = [[1.5, 2.0], [3.0, 4.25], [5, 6], [7, 8], [9, 10]]
COCO = [1.5, 2.0, 2, 3.0, 4.25, 0, 5, 6, 1, 7, 8, 2, 9, 10, 2]
NONE = [0, 0, 0] * 5


def parse(document: Any, file_format: Literal["spiga", "coco"] | None = None) -> ExternalFile:
    return parse_json(document if isinstance(document, str) else json.dumps(document), FIVE, file_format)


def spiga(landmarks: Any, imgpath: Any = "a.png") -> list[dict[str, Any]]:
    return [{"imgpath": imgpath, "landmarks": landmarks, "bbox": [1, 2, 3, 4]}]


def coco(ids: list[Any], image_id: Any, keypoints: Any = COCO) -> dict[str, Any]:
    images = [{"id": value, "file_name": f"{number}.png"} for number, value in enumerate(ids)]
    return {"images": images, "annotations": [{"image_id": image_id, "keypoints": keypoints}]}


@pytest.mark.parametrize("file_format", [None, "given"])
@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("spiga", [*spiga(POINTS, "a/1.png"), *spiga([[None, None]] * 5, "b.png")]),
        ("spiga", [*spiga(POINTS, "a/1.png"), *spiga([None] * 5, "b.png")]),
        ("spiga", [*spiga(POINTS, "a/1.png"), *spiga(None, "b.png")]),
        ("spiga", [*spiga([[str(x), str(y)] for x, y in POINTS], "a/1.png"), *spiga([["nan", ""]] * 5, "b.png")]),
        ("coco", [{"image_id": "a/1.png", "keypoints": COCO}, {"image_id": "b.png", "keypoints": [None] * 15}]),
        (
            "coco",
            {
                "images": [{"id": 7, "file_name": "a/1.png"}, {"id": 8, "file_name": "b.png"}],
                "annotations": [{"image_id": 7, "keypoints": COCO}, {"image_id": 8, "keypoints": NONE}],
            },
        ),
    ],
)
def test_parse_json_all_formats_give_the_same_points(name: Any, document: Any, file_format: Any) -> None:
    faces = parse(document, name if file_format else None).faces
    assert list(faces) == ["a/1.png", "b.png"]
    np.testing.assert_array_equal(faces["a/1.png"], POINTS)
    assert np.isnan(faces["b.png"]).all()


def test_parse_json_coco_zeros_are_no_prediction_of_that_point() -> None:
    """COCO stores a point that is not labeled as 0, 0, 0. A point at the corner with another visibility is one."""
    keypoints = [0, 0, 0, 0, 0, 1, 3.0, 4.25, 0, 0.0, 0.0, 0.0, 9, 10, 2]
    (points_k2,) = parse(coco([1], 1, keypoints)).faces.values()
    np.testing.assert_array_equal(points_k2, [[np.nan] * 2, [0, 0], [3.0, 4.25], [np.nan] * 2, [9, 10]])


@pytest.mark.parametrize(
    ("ids", "image_id", "name"),
    [
        ([1, 2], 1.0, "0.png"),
        ([1.0, 2.0], 2, "1.png"),
        (["000001", "000002"], "000002", "1.png"),
        ([1, "1"], "1", "1.png"),
        ([1, "1"], 1, "0.png"),
        (["1", "1.0", "01"], "1.0", "1.png"),
    ],
)
def test_parse_json_coco_ids_are_numbers_or_texts(ids: list[Any], image_id: Any, name: str) -> None:
    assert list(parse(coco(ids, image_id)).faces) == [name]


@pytest.mark.parametrize(
    ("ids", "image_id", "message"),
    [
        ([1, 2], "1", "annotation 1: no image has the id '1'; ids are like 1"),
        (["000001"], 1, "annotation 1: no image has the id 1; ids are like '000001'"),
        (["1"], "000001", "no image has the id '000001'"),
        ([1, 2], 3, "no image has the id 3"),
        ([1, 2], True, "no image has the id True"),
        ([1, 2], 1.5, "no image has the id 1.5"),
        ([1, 2], [1], r"no image has the id \[1\]"),
        ([1, 2], None, "no image has the id None"),
        ([1, 1], 1, "image 2 has the id 1 of another image, so that it names '0.png' and '1.png'"),
        ([1, 1.0], 1, "image 2 has the id 1.0 of another image"),
        ([True, 2], 2, "image 1 has the id True; ids are integers or texts"),
        ([None], 1, "image 1 has the id None"),
        ([], 1, "no image has the id 1"),
    ],
)
def test_parse_json_coco_unclear_ids_are_refused(ids: list[Any], image_id: Any, message: str) -> None:
    with pytest.raises(RcnSearchError, match=message):
        parse(coco(ids, image_id))


def test_parse_json_coco_annotations_without_keypoints_are_left_out() -> None:
    document = coco([1, 2], 1)
    document["annotations"] += [{"image_id": 1, "segmentation": [[1, 2, 3]]}, {"image_id": 1, "keypoints": []}]
    parsed = parse(document)
    assert list(parsed.faces) == ["0.png"]
    assert parsed.notes == ["annotations without keypoints, not read: 2"]


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        ([list(axis) for axis in zip(*POINTS, strict=True)], r"landmarks must be 5 pairs \[x, y\], not 2 lists of 5"),
        ([value for point in POINTS for value in point], "not a flat list of 10"),
        ([x for x, _ in POINTS] + [y for _, y in POINTS], "not a flat list of 10"),
        (POINTS[:4], "not 4 lists of 2"),
        ([[*point, 1] for point in POINTS], "not 5 lists of 3"),
        ([[1, 2], [3], *POINTS[2:]], "not 5 lists of 1/2"),
        ([], "not 0 lists of 2"),
        ("text", "not 'text'"),
        ({"x": 1}, r"not \{'x': 1\}"),
        ([[True, 2], *POINTS[1:]], "True is not a number"),
        ([["1_0", 2], *POINTS[1:]], "'1_0' is not a number"),
        ([[[1], 2], *POINTS[1:]], r"\[1\] is not a number"),
        ([[1e30, 2], *POINTS[1:]], "in no image"),
    ],
)
def test_parse_json_spiga_landmarks_must_be_pairs(landmarks: Any, message: str) -> None:
    with pytest.raises(RcnSearchError, match=f"face 1, image 'a.png': .*{message}"):
        parse(spiga(landmarks))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "not valid JSON: Expecting property name"),
        ("", "not valid JSON"),
        ("[" * 100_000, "too deeply nested"),
        ('{"a":' * 100_000, "too deeply nested"),
        ("[" + "1" * 5000 + "]", "integer string conversion"),
        ({}, "no list of images"),
        ({"images": [5]}, "no list of images"),
        ([1], "neither COCO keypoints nor SPIGA's"),
        ([], "neither COCO keypoints nor SPIGA's"),
        (7, "neither COCO keypoints nor SPIGA's"),
        ({"images": [], "annotations": [{"segmentation": []}]}, "neither COCO keypoints nor SPIGA's"),
        ([{"landmarks": POINTS}], "face 1 has no imgpath"),
        ([{"imgpath": "a"}], "face 1 has no imgpath or no landmarks"),
        ([*spiga(POINTS), *spiga(POINTS)], "face 2: image 'a.png' occurs twice"),
        (spiga(POINTS, 5), "face 1: 5 in place of the name of an image"),
        (
            [{"image_id": 3, "keypoints": COCO}],
            "image_id 3 is no file name; give a document with images and annotations",
        ),
        ([{"image_id": 1.0, "keypoints": COCO}], "image_id 1.0 is no file name"),
        (
            [{"image_id": "3", "keypoints": [1, 2]}],
            "keypoints must be 5 times x, y and visibility in one list, not a list of 2",
        ),
        ([{"image_id": "3", "keypoints": POINTS}], "not a list of 5"),
        ([{"image_id": "3", "keypoints": "abc"}], "not 'abc'"),
        ([{"image_id": "3", "keypoints": [False, 0, 0, *COCO[3:]]}], "False is not a number"),
        ([{"image_id": "3", "keypoints": COCO}] * 2, "annotation 2: image '3' occurs twice"),
        ({"images": [{"id": 1}], "annotations": [{"image_id": 1, "keypoints": COCO}]}, "None in place of the name"),
        (json.dumps(spiga(POINTS)).replace('"bbox"', '"imgpath"'), "an object has the key 'imgpath' twice"),
        ([{"image_id": 3, "keypoints": COCO}] * 5000, "annotation 10: .*; and 4,990 more faults$"),
        ({"images": [{"id": 1}] * 5000, "annotations": []}, "image 11 has .*; and 4,989 more faults$"),
    ],
)
def test_parse_json_invalid_file_names_the_item(document: Any, message: str) -> None:
    with pytest.raises(RcnSearchError, match=message) as error:
        parse(document)
    assert len(str(error.value)) < 2000


def test_parse_json_that_would_need_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is one of what the parsed document takes, which for ``[],`` is 30 times the text."""
    monkeypatch.setattr(json_formats, "MAX_MEMORY_BYTES", 10_000)
    parse([{"image_id": "a", "keypoints": COCO}])
    with pytest.raises(RcnSearchError, match=r"it may need .* bytes of memory; at most 10,000 are used"):
        parse("[" + "[]," * 60 + "[]]")
