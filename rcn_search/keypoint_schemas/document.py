"""Read and write keypoint schemas as plain data, the content of a ``schema.yaml``.

    name: kite
    points: [left, right, tip]
    flip: [[left, right]]
    edges: [[left, right], [right, tip], [tip, left]]
    parts: {wings: [left, right]}
    normalizers: {base: [left, right], height: [wings, tip]}
    box: {rule: enclosing, input_ratio: 1.3, crop_ratio: 1.7}

Points are named everywhere; where a group of points is meant, a part may be named instead.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args

from rcn_search.errors import RcnSearchError
from rcn_search.keypoint_schemas.schema import BOX, DIAGONAL, BoxRule, Group, KeypointSchema

KEYS = ("name", "points", "flip", "edges", "parts", "normalizers", "box")
_REQUIRED = ("name", "points", "flip")
MAX_POINTS = 1_000
FOUR_POINTS = ("left_eye", "right_eye", "left_mouth", "right_mouth")
"""Points that the box rule ``four_points`` needs."""

_SCHEMA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
NORMALIZER_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_Rule = Literal["enclosing", "four_points"]


class SchemaError(RcnSearchError):
    """A keypoint schema that its author can correct; ``path`` are the keys that lead to the problem."""

    def __init__(self, path: tuple[str | int, ...], problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{'.'.join(map(str, path))}: {problem}" if path else problem)


def parse_schema(document: Mapping[str, Any]) -> KeypointSchema:
    """Read a schema from plain data, and prove it: names are known, the flip is an involution, normalizers exist.

    Raises:
        SchemaError: The document is no schema; the message says where and why.
    """
    if unknown := [key for key in document if key not in KEYS]:
        guess = difflib.get_close_matches(str(unknown[0]), KEYS, n=1)
        hint = f"did you mean {guess[0]!r}? " if guess else ""
        raise SchemaError((str(unknown[0]),), f"unknown key; {hint}a schema has {', '.join(KEYS)}")
    for key in _REQUIRED:
        if key not in document:
            hint = " ([] if a flip exchanges no points)" if key == "flip" else ""
            raise SchemaError((key,), f"is required{hint}")
    name = document["name"]
    if not isinstance(name, str) or not _SCHEMA_NAME.fullmatch(name):
        raise SchemaError(("name",), f"{name!r} is no name: letters, digits, '_', '.' and '-', at most 64 of them")
    names = _point_names(document["points"])
    index = {point: number for number, point in enumerate(names)}
    parts = _parts(_mapping(document, "parts"), index)
    return KeypointSchema(
        name=name,
        names=names,
        flip=_flip(document["flip"], index),
        normalizers=_normalizers(_mapping(document, "normalizers"), index, parts),
        edges=tuple(_edge(edge, number, index) for number, edge in enumerate(_list(document, "edges"))),
        parts=parts,
        box=_box_rule(document.get("box", {}), names),
    )


def schema_document(schema: KeypointSchema) -> dict[str, Any]:
    """Write a schema as plain data, from which `parse_schema` makes the same schema."""

    def named(group: Group) -> list[str]:
        return [schema.names[k] for k in group]

    return {
        "name": schema.name,
        "points": list(schema.names),
        "flip": [named((k, other)) for k, other in enumerate(schema.flip) if k < other],
        "edges": [named(edge) for edge in schema.edges],
        "parts": {name: named(part) for name, part in schema.parts.items()},
        "normalizers": {
            name: [group[0] if len(group := named(end)) == 1 else group for end in ends]
            for name, ends in schema.normalizers.items()
        },
        "box": dict(vars(schema.box)),
    }


def _point_names(points: Any) -> tuple[str, ...]:
    if not isinstance(points, list) or not 1 <= len(points) <= MAX_POINTS:
        raise SchemaError(("points",), f"must be a list of 1 to {MAX_POINTS:,} names")
    names = tuple(_text(point, ("points", number)) for number, point in enumerate(points))
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise SchemaError(("points",), f"{repeated!r} is there twice")
    return names


def _text(value: Any, path: tuple[str | int, ...]) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # points are often numbered
    if not isinstance(value, str):
        raise SchemaError(path, f"{value!r} is not a name; put names that YAML reads otherwise in quotes")
    if value != value.strip() or not 1 <= len(value) <= 100 or not value.isprintable():
        raise SchemaError(path, f"{value!r} is not a name of 1 to 100 printable characters")
    return value


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key, [])
    if not isinstance(value, list):
        raise SchemaError((key,), f"must be a list, not {value!r}")
    return value


def _mapping(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise SchemaError((key,), f"must be names with their points, not {value!r}")
    return value


def _index_of(value: Any, path: tuple[str | int, ...], index: Mapping[str, int]) -> int:
    name = _text(value, path)
    if name not in index:
        guess = difflib.get_close_matches(name, index, n=1)
        hint = f"; did you mean {guess[0]!r}?" if guess else f"; the points are {abbreviate(list(index))}"
        raise SchemaError(path, f"there is no point {name!r}{hint}")
    return index[name]


def abbreviate(names: Sequence[str], most: int = 8) -> str:
    """List names for a message, at most so many of them."""
    return ", ".join(names[:most]) + (f", … ({len(names)})" if len(names) > most else "")


def _flip(pairs: Any, index: Mapping[str, int]) -> Group:
    if not isinstance(pairs, list):
        raise SchemaError(("flip",), f"must list the pairs of points that a flip exchanges, [] for none; not {pairs!r}")
    flip = list(range(len(index)))
    names = list(index)
    for number, pair in enumerate(pairs):
        path = ("flip", number)
        if not isinstance(pair, list) or len(pair) != 2:
            raise SchemaError(path, f"{pair!r} is not a pair of points")
        first, second = (_index_of(point, path, index) for point in pair)
        if first == second:
            raise SchemaError(path, f"{names[first]!r} is paired with itself; leave out what a flip does not exchange")
        for point in (first, second):
            if flip[point] != point:
                raise SchemaError(
                    path,
                    f"{names[point]!r} is exchanged with {names[flip[point]]!r} already: flipping twice would not "
                    "give the same points",
                )
        flip[first], flip[second] = second, first
    return tuple(flip)


def _edge(edge: Any, number: int, index: Mapping[str, int]) -> Group:
    if not isinstance(edge, list) or len(edge) < 2:
        raise SchemaError(("edges", number), f"{edge!r} is not a line through two points or more")
    return tuple(_index_of(point, ("edges", number), index) for point in edge)


def _parts(parts: dict[str, Any], index: Mapping[str, int]) -> dict[str, Group]:
    found: dict[str, Group] = {}
    for key, points in parts.items():
        name = _text(key, ("parts", key))
        if name in index:
            raise SchemaError(("parts", key), "a point has this name, too")
        found[name] = _group(points, ("parts", key), index, {})
    return found


def _group(value: Any, path: tuple[str | int, ...], index: Mapping[str, int], parts: Mapping[str, Group]) -> Group:
    if not isinstance(value, list):
        return parts[value] if isinstance(value, str) and value in parts else (_index_of(value, path, index),)
    group = tuple(_index_of(point, path, index) for point in value)
    if not group or len(set(group)) < len(group):
        raise SchemaError(path, "a group needs one point or more, each once")
    return group


def _normalizers(
    normalizers: dict[str, Any], index: Mapping[str, int], parts: Mapping[str, Group]
) -> dict[str, tuple[Group, Group]]:
    found: dict[str, tuple[Group, Group]] = {}
    for name, ends in normalizers.items():
        path = ("normalizers", name)
        if name in (BOX, DIAGONAL):
            raise SchemaError(path, f"{BOX} and {DIAGONAL} exist in every schema; choose another name")
        if not isinstance(name, str) or not NORMALIZER_NAME.fullmatch(name):
            raise SchemaError(path, f"{name!r} is no name: lower-case letters, digits and '_', at most 40 of them")
        if not isinstance(ends, list) or len(ends) != 2:
            raise SchemaError(path, f"{ends!r} is not a pair of points, parts or lists of points")
        first, second = (_group(end, path, index, parts) for end in ends)
        if set(first) == set(second):
            raise SchemaError(path, "both ends are the same, so that its length is always 0")
        found[name] = first, second
    return found


def _box_rule(box: Any, names: Sequence[str]) -> BoxRule:
    options = {"rule": box} if isinstance(box, str) else box
    if not isinstance(options, dict):
        raise SchemaError(("box",), f"{box!r} is not a rule")
    defaults = vars(BoxRule())
    if unknown := [key for key in options if key not in defaults]:
        raise SchemaError(("box", str(unknown[0])), f"unknown key; box has {', '.join(defaults)}")
    rule = options.get("rule", defaults["rule"])
    if rule not in get_args(_Rule):
        raise SchemaError(("box", "rule"), f"{rule!r} must be one of {', '.join(get_args(_Rule))}")
    if rule == "four_points" and (missing := [name for name in FOUR_POINTS if name not in names]):
        raise SchemaError(("box", "rule"), f"four_points needs the points {', '.join(FOUR_POINTS)}; no {missing[0]!r}")
    if rule == "four_points":
        defaults |= {"input_ratio": 0.95, "crop_ratio": 1.25}
    ratios = {key: _ratio(options.get(key, defaults[key]), key) for key in ("input_ratio", "crop_ratio")}
    if rule == "enclosing" and ratios["input_ratio"] < 1:
        raise SchemaError(("box", "input_ratio"), "under 1 the network would not see the outer points")
    if ratios["crop_ratio"] < ratios["input_ratio"]:
        raise SchemaError(("box", "crop_ratio"), "must not be under input_ratio: the face box lies in the stored crop")
    return BoxRule(cast(_Rule, rule), **ratios)


def _ratio(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and 0 < value <= 10):
        raise SchemaError(("box", key), f"{value!r} must be a number over 0 and up to 10")
    return float(value)
