"""Write a keypoint schema from the categories of a COCO file: names and skeleton are there, flip pairs are guessed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from rcn_search.data.importers.points.annotations import read_json
from rcn_search.data.importers.points.coco_layout import CocoFile, keypoint_names
from rcn_search.data.shards import DatasetError
from rcn_search.keypoint_schemas.document import parse_schema, schema_document
from rcn_search.keypoints import KeypointSchema

_SIDE = re.compile(r"(?<![a-z])(left|right|l|r)(?![a-z])", re.IGNORECASE)
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}
_HEAD = """\
# Keypoint schema, from the categories of a COCO file. To check, before it is used:
# - flip: the pairs that a picture exchanges when it is flipped left to right, guessed from the names;
# - normalizers: lengths that divide errors, as in {base: [left, right]}; the first is the default, else the box.
"""


def schema_of_coco(path: Path, category: str = "") -> KeypointSchema:
    """Make the schema of a category; it may be left out if only one has keypoints.

    Raises:
        DatasetError: The file is no COCO file, or there is not one such category.
    """
    if not path.is_file():
        raise DatasetError(f"{path} is no file")
    source = CocoFile(read_json(path.parent, path.name), path.name)
    named = {str(entry.get("name", key)): entry for key, entry in source.categories.items() if keypoint_names(entry)}
    if not named:
        raise DatasetError(f"{path}: no category names keypoints")
    if category and category not in named:
        raise DatasetError(f"{path}: no category {category!r} has keypoints; those that have: {', '.join(named)}")
    if not category and len(named) > 1:
        raise DatasetError(f"{path}: several categories have keypoints; choose one by --category: {', '.join(named)}")
    name, entry = next((name, entry) for name, entry in named.items() if category in ("", name))
    points = keypoint_names(entry)
    return parse_schema(
        {
            "name": re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-._")[:64] or "points",
            "points": points,
            "flip": [[point, other_side(point)] for point in points if _is_first_of_pair(point, points)],
            "edges": _edges(entry.get("skeleton"), points, path),
        }
    )


def other_side(name: str) -> str:
    """Exchange left and right in a name: ``left_eye`` and ``right_eye``, ``eye.L`` and ``eye.R``."""

    def swap(match: re.Match[str]) -> str:
        other = _OTHER[match[0].lower()]
        return other.upper() if match[0].isupper() else other.capitalize() if match[0][0].isupper() else other

    return _SIDE.sub(swap, name)


def _is_first_of_pair(point: str, points: list[str]) -> bool:
    other = other_side(point)
    return other != point and other in points and points.index(point) < points.index(other)


def _edges(skeleton: Any, points: list[str], path: Path) -> list[list[str]]:
    edges = []
    for pair in skeleton if isinstance(skeleton, list) else []:
        if not isinstance(pair, list) or len(pair) != 2 or not all(_is_number(k, len(points)) for k in pair):
            raise DatasetError(f"{path}: the skeleton has {str(pair)[:40]}, not two of the {len(points)} points from 1")
        edges.append([points[int(k) - 1] for k in pair])
    return edges


def _is_number(value: Any, most: int) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value in range(1, most + 1)


def schema_text(schema: KeypointSchema) -> str:
    """Write a schema as a YAML file, with what is left to do."""
    document = {key: value for key, value in schema_document(schema).items() if key not in ("name", "parts")}
    lines = [
        yaml.safe_dump({key: value}, default_flow_style=None, sort_keys=False, width=110, allow_unicode=True)
        for key, value in document.items()
    ]
    return "".join([_HEAD, f"name: {json.dumps(schema.name)}\n", *lines])
