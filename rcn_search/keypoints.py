"""Named keypoint schemas: names of the points, how a flip renumbers them, and which points normalize an error.

The built-in schemas are the files ``keypoint_schemas/*.yaml``, of the same form as a user's ``schema.yaml``. "Left" and
"right" are the left and right of the image, as in MTFL, not of the person.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

from rcn_search.errors import RcnSearchError
from rcn_search.keypoint_schemas.document import parse_schema
from rcn_search.keypoint_schemas.schema import KeypointSchema

__all__ = ["POINT_SUBSETS", "SCHEMAS", "KeypointSchema", "keypoint_schema", "resolve_schema", "subset_indices"]

_BUILT_IN = ("five", "ibug68", "wflw98", "cofw29", "aflw19")
"""Names of the files. Data sets with these names as schema need not hold the schema, so a name is never removed."""


def schema_file(name: str) -> str:
    """Read the file of a built-in schema."""
    return (files("rcn_search") / "keypoint_schemas" / f"{name}.yaml").read_text(encoding="utf-8")


def _load(name: str) -> KeypointSchema:
    return parse_schema(yaml.load(schema_file(name), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


SCHEMAS: dict[str, KeypointSchema] = {name: _load(name) for name in _BUILT_IN}
FIVE, IBUG68, WFLW98, COFW29, AFLW19 = SCHEMAS.values()

# Named subsets of the points of a schema, by index. The 49 of 68 points lack the contour and the inner corners of the
# mouth (docs/explanation/model-specification.md, "Protocols").
POINT_SUBSETS: dict[str, tuple[str, tuple[int, ...]]] = {
    "ibug49": ("ibug68", tuple(k for k in range(17, 68) if k not in (60, 64)))
}


def subset_indices(schema: KeypointSchema, wanted: str) -> list[int]:
    """Find the indices of the points of ``schema`` that a protocol for ``wanted`` keypoints counts.

    Raises:
        RcnSearchError: ``wanted`` is neither the schema nor a subset of it.
    """
    if wanted == schema.name:
        return list(range(schema.num_points))
    parent, points = POINT_SUBSETS.get(wanted, ("", ()))
    if parent != schema.name:
        raise RcnSearchError(f"{schema.name!r} points do not contain the {wanted!r} points")
    return list(points)


def keypoint_schema(name: str) -> KeypointSchema:
    """Look up a built-in schema by its name.

    Raises:
        RcnSearchError: No built-in schema has that name.
    """
    if name not in SCHEMAS:
        raise RcnSearchError(f"unknown keypoint schema {name!r}; known: {', '.join(SCHEMAS)}")
    return SCHEMAS[name]


def resolve_schema(name: str, document: Mapping[str, Any] | None) -> KeypointSchema:
    """Find the schema of a data set, checkpoint or prediction file: a built-in one, or the one that it holds.

    Raises:
        RcnSearchError: The name is not a built-in one and there is no document, or the document is another schema's.
    """
    if document is None or name in SCHEMAS:
        return keypoint_schema(name)
    schema = _parse_text(json.dumps(document))
    if schema.name != name:
        raise RcnSearchError(f"the keypoint schema {name!r} is needed, and {schema.name!r} is stored")
    return schema


@lru_cache(maxsize=64)
def _parse_text(text: str) -> KeypointSchema:
    return parse_schema(json.loads(text))
