from __future__ import annotations

from typing import Any

import pytest
import yaml

from rcn_search.keypoint_schemas.document import SchemaError, parse_schema, schema_document
from rcn_search.keypoint_schemas.schema import BoxRule

KITE = """
name: kite
points: [left, right, tip]
flip: [[left, right]]
edges: [[left, right], [right, tip], [tip, left]]
normalizers: {base: [left, right]}
"""


def kite(**changes: Any) -> dict[str, Any]:
    """The document of a kite; a change of None removes the key."""
    document = yaml.safe_load(KITE) | changes
    return {key: value for key, value in document.items() if value is not None}


def test_parse_schema_reads_the_example() -> None:
    schema = parse_schema(kite())
    assert (schema.name, schema.names, schema.flip) == ("kite", ("left", "right", "tip"), (1, 0, 2))
    assert schema.edges == ((0, 1), (1, 2), (2, 0))
    assert schema.normalizers == {"base": ((0,), (1,))}
    assert schema.box == BoxRule("enclosing", 1.3, 1.7)
    assert (schema.default_normalizer, schema.normalizer_names) == ("base", ("base", "box", "diagonal"))


def test_parse_schema_without_normalizers_uses_the_box() -> None:
    schema = parse_schema(kite(normalizers=None, edges=None))
    assert (schema.default_normalizer, schema.normalizer_names) == ("box", ("box", "diagonal"))


def test_parse_schema_takes_parts_and_lists_as_groups() -> None:
    normalizers = {"height": ["wings", "tip"], "side": [["left", "tip"], "right"]}
    schema = parse_schema(kite(parts={"wings": ["right", "left"]}, normalizers=normalizers))
    assert schema.normalizers == {"height": ((1, 0), (2,)), "side": ((0, 2), (1,))}
    assert schema.default_normalizer == "height"
    assert parse_schema(schema_document(schema)) == schema


def test_parse_schema_takes_numbers_as_names() -> None:
    schema = parse_schema({"name": "three", "points": [1, 2, 3], "flip": [[1, 3]], "edges": [[1, 2, 3]]})
    assert (schema.names, schema.flip, schema.edges) == (("1", "2", "3"), (2, 1, 0), ((0, 1, 2),))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ("enclosing", BoxRule()),
        ({"input_ratio": 1.1, "crop_ratio": 2}, BoxRule("enclosing", 1.1, 2.0)),
        ({"rule": "enclosing"}, BoxRule()),
    ],
)
def test_parse_schema_reads_the_box_rule(box: Any, expected: BoxRule) -> None:
    assert parse_schema(kite(box=box)).box == expected


def test_parse_schema_of_four_points_needs_them() -> None:
    points = ["left_eye", "right_eye", "left_mouth", "right_mouth"]
    document = {"name": "four", "points": points, "flip": [], "box": "four_points"}
    assert parse_schema(document).box == BoxRule("four_points", 0.95, 1.25)
    with pytest.raises(SchemaError, match=r"box.rule: four_points needs the points .* no 'left_eye'"):
        parse_schema(kite(box="four_points"))


@pytest.mark.parametrize(
    ("changes", "path", "problem"),
    [
        ({"flips": []}, ("flips",), "unknown key; did you mean 'flip'"),
        ({"name": None}, ("name",), "is required"),
        ({"points": None}, ("points",), "is required"),
        ({"flip": None}, ("flip",), "is required .* if a flip exchanges no points"),
        ({"name": "../kite"}, ("name",), "is no name"),
        ({"name": 3}, ("name",), "is no name"),
        ({"points": []}, ("points",), "1 to 1,000 names"),
        ({"points": 3}, ("points",), "1 to 1,000 names"),
        ({"points": ["left", "right", "left"]}, ("points",), "'left' is there twice"),
        ({"points": ["left", "right", False]}, ("points", 2), "False is not a name; put .* in quotes"),
        ({"points": ["left", "right", "a\nb"]}, ("points", 2), "printable"),
        ({"points": ["left", "right", ""]}, ("points", 2), "printable"),
        ({"points": ["left", "right", " tip"]}, ("points", 2), "printable"),
        ({"flip": "none"}, ("flip",), "must list the pairs"),
        ({"flip": [["left"]]}, ("flip", 0), "not a pair"),
        ({"flip": [["left", "right", "tip"]]}, ("flip", 0), "not a pair"),
        ({"flip": [["left", "left"]]}, ("flip", 0), "paired with itself"),
        ({"flip": [["left", "right"], ["tip", "right"]]}, ("flip", 1), "'right' is exchanged with 'left' already"),
        ({"flip": [["left", "rihgt"]]}, ("flip", 0), "no point 'rihgt'; did you mean 'right'"),
        ({"edges": [["left", "end"]]}, ("edges", 0), "no point 'end'; the points are left, right, tip"),
        ({"edges": [["left"]]}, ("edges", 0), "two points or more"),
        ({"edges": {"left": "tip"}}, ("edges",), "must be a list"),
        ({"parts": {"tip": ["left"]}}, ("parts", "tip"), "a point has this name"),
        ({"parts": {"wings": ["left", "left"]}}, ("parts", "wings"), "each once"),
        ({"parts": ["left"]}, ("parts",), "names with their points"),
        ({"normalizers": {"base": ["left"]}}, ("normalizers", "base"), "not a pair"),
        ({"normalizers": {"base": ["left", "left"]}}, ("normalizers", "base"), "always 0"),
        ({"normalizers": {"base": ["left", []]}}, ("normalizers", "base"), "one point or more"),
        ({"normalizers": {"base": ["left", "wings"]}}, ("normalizers", "base"), "no point 'wings'"),
        ({"normalizers": {"box": ["left", "tip"]}}, ("normalizers", "box"), "exist in every schema"),
        ({"normalizers": {"Base": ["left", "tip"]}}, ("normalizers", "Base"), "lower-case"),
        ({"box": "square"}, ("box", "rule"), "'square' must be one of enclosing, four_points"),
        ({"box": {"margin": 1}}, ("box", "margin"), "unknown key"),
        ({"box": {"input_ratio": 2.0}}, ("box", "crop_ratio"), "must not be under input_ratio"),
        ({"box": {"input_ratio": 0.5}}, ("box", "input_ratio"), "would not see the outer points"),
        ({"box": {"crop_ratio": True}}, ("box", "crop_ratio"), "must be a number"),
        ({"box": {"crop_ratio": float("inf")}}, ("box", "crop_ratio"), "must be a number"),
    ],
)
def test_parse_schema_says_what_is_wrong_where(changes: dict[str, Any], path: tuple[Any, ...], problem: str) -> None:
    with pytest.raises(SchemaError, match=problem) as caught:
        parse_schema(kite(**changes))
    assert caught.value.path == path
    assert str(caught.value).startswith(".".join(map(str, path)) + ": ")
