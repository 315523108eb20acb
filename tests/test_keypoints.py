from __future__ import annotations

import hashlib
import json
import re

import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.keypoint_schemas.document import parse_schema, schema_document
from rcn_search.keypoints import (
    AFLW19,
    COFW29,
    IBUG68,
    SCHEMAS,
    WFLW98,
    KeypointSchema,
    keypoint_schema,
    resolve_schema,
)

every_schema = pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)


@every_schema
def test_schema_names_are_unique(schema: KeypointSchema) -> None:
    assert len({*schema.names}) == schema.num_points == len(schema.flip)
    assert keypoint_schema(schema.name) is schema


@every_schema
def test_flip_twice_is_the_identity(schema: KeypointSchema) -> None:
    assert [schema.flip[other] for other in schema.flip] == list(range(schema.num_points))


@every_schema
def test_flip_exchanges_left_and_right(schema: KeypointSchema) -> None:
    """A point goes to the part of the other side; one without a side stays in its part."""
    swap = {"left": "right", "right": "left"}
    for name, other in zip(schema.names, (schema.names[index] for index in schema.flip), strict=True):
        mirrored = re.sub("^(left|right)", lambda side: swap[side[0]], name)
        assert re.sub(r"_\d+$", "", other) == re.sub(r"_\d+$", "", mirrored)


@every_schema
def test_normalizers_are_invariant_to_a_flip(schema: KeypointSchema) -> None:
    """The length of a flipped face is the same, and the first group is on the left."""
    for left, right in schema.normalizers.values():
        assert {*left, *right} <= {*range(schema.num_points)}
        assert {schema.flip[index] for index in left} == {*right}
        assert all(schema.names[index].startswith("left_eye") for index in left)
    assert "eye_centers" in schema.normalizers


PUBLISHED = {
    "five": "803aae5f1cb569c0",
    "ibug68": "3efcce0fdc3ad156",
    "wflw98": "19d7e1bdd952ea13",
    "cofw29": "28f26f0a2676f9c9",
    "aflw19": "f2e762ef973f84b0",
}
"""Hashes of names, flip, normalizers and edges of the built-in schemas when they were Python, before version 0.2."""


@every_schema
def test_schema_file_has_the_values_from_before_it_was_a_file(schema: KeypointSchema) -> None:
    """Entries and data sets name these schemas only, so their values may never change."""
    content = json.dumps([schema.names, schema.flip, schema.normalizers, schema.edges]).encode()
    assert hashlib.sha256(content).hexdigest()[:16] == PUBLISHED[schema.name]


@every_schema
def test_schema_document_makes_the_same_schema(schema: KeypointSchema) -> None:
    document = json.loads(json.dumps(schema_document(schema)))
    assert parse_schema(document) == schema
    assert resolve_schema(schema.name, None) == resolve_schema(schema.name, document) == schema


def test_resolve_schema_reads_the_stored_one() -> None:
    document = {"name": "kite", "points": ["left", "right", "tip"], "flip": [["left", "right"]]}
    kite = resolve_schema("kite", document)
    assert (kite.names, kite.flip) == (("left", "right", "tip"), (1, 0, 2))
    assert resolve_schema("kite", document) is kite
    with pytest.raises(RcnSearchError, match="unknown keypoint schema 'kite'"):
        resolve_schema("kite", None)
    with pytest.raises(RcnSearchError, match="'dragon' is needed, and 'kite' is stored"):
        resolve_schema("dragon", document)


def test_ibug68_is_the_published_markup() -> None:
    """Sagonas et al. (2013), Fig. 1, which is 1-based; any flipped pair of 300-W shows it."""
    numbered = {name: index + 1 for index, name in enumerate(IBUG68.names)}
    assert IBUG68.num_points == 68
    assert [numbered[name] for name in ("contour_9", "nose_bridge_4", "nose_base_3")] == [9, 31, 34]
    pairs = [
        (1, 17),  # ends of the contour
        (9, 9),  # chin
        (18, 27),  # outer ends of the brows
        (22, 23),  # their inner ends
        (31, 31),  # tip of the nose
        (32, 36),  # its wings
        (37, 46),  # outer corners of the eyes
        (40, 43),  # their inner corners
        (38, 45),  # upper lids
        (42, 47),  # lower lids
        (49, 55),  # corners of the mouth
        (52, 52),  # cupid's bow
        (58, 58),  # lower lip
        (61, 65),  # inner corners of the mouth
        (68, 66),  # inner lower lip
    ]
    assert [(first, IBUG68.flip[first - 1] + 1) for first, _ in pairs] == pairs
    # As in the paper's code: between the midpoints of the corners of each eye, 37 and 40, 43 and 46.
    assert IBUG68.normalizers["eye_centers"] == ((36, 39), (42, 45))


# Pairs that a flip exchanges and outer eye corners of three markups, from the code that scores them:
# HRNet-Facial-Landmark-Detection, lib/utils/transforms.py and evaluation.py. 1-based, except WFLW.
WFLW_PAIRS = [
    *((k, 32 - k) for k in range(16)),
    *((33, 46), (34, 45), (35, 44), (36, 43), (37, 42), (38, 50), (39, 49), (40, 48), (41, 47)),
    *((60, 72), (61, 71), (62, 70), (63, 69), (64, 68), (65, 75), (66, 74), (67, 73), (55, 59), (56, 58)),
    *((76, 82), (77, 81), (78, 80), (87, 83), (86, 84), (88, 92), (89, 91), (95, 93), (96, 97)),
]
COFW_PAIRS = [(1, 2), (5, 7), (3, 4), (6, 8), (9, 10), (11, 12), (13, 15), (17, 18), (14, 16), (19, 20), (23, 24)]
AFLW_PAIRS = [(1, 6), (2, 5), (3, 4), (7, 12), (8, 11), (9, 10), (13, 15), (16, 18)]


@pytest.mark.parametrize(
    ("schema", "num_points", "pairs", "first", "outer"),
    [(WFLW98, 98, WFLW_PAIRS, 0, (60, 72)), (COFW29, 29, COFW_PAIRS, 1, (9, 10)), (AFLW19, 19, AFLW_PAIRS, 1, (7, 12))],
    ids=lambda value: getattr(value, "name", ""),
)
def test_flips_of_other_markups_are_those_published(
    schema: KeypointSchema, num_points: int, pairs: list[tuple[int, int]], first: int, outer: tuple[int, int]
) -> None:
    assert schema.num_points == num_points
    swapped = {(k + first, other + first) for k, other in enumerate(schema.flip) if k != other}
    assert swapped == {*pairs, *((right, left) for left, right in pairs)}
    (left,), (right,) = schema.normalizers["outer_eye_corners"]
    assert (left + first, right + first) == outer


def test_keypoint_schema_of_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        RcnSearchError, match="unknown keypoint schema 'six'; known: five, ibug68, wflw98, cofw29, aflw19"
    ):
        keypoint_schema("six")
