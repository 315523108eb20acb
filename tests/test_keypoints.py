from __future__ import annotations

import re

import pytest

from rcn_search.keypoints import IBUG68, SCHEMAS, KeypointSchema, keypoint_schema

every_schema = pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)


@every_schema
def test_names_are_unique(schema: KeypointSchema) -> None:
    assert len({*schema.names}) == schema.num_points == len(schema.flip)
    assert keypoint_schema(schema.name) is schema


@every_schema
def test_mirrored_twice_is_unchanged(schema: KeypointSchema) -> None:
    assert [schema.flip[other] for other in schema.flip] == list(range(schema.num_points))


@every_schema
def test_left_is_mirrored_to_right(schema: KeypointSchema) -> None:
    """A point goes to the part of the other side; one without a side stays in its part."""
    swap = {"left": "right", "right": "left"}
    for name, other in zip(schema.names, (schema.names[index] for index in schema.flip), strict=True):
        mirrored = re.sub("^(left|right)", lambda side: swap[side[0]], name)
        assert re.sub(r"_\d+$", "", other) == re.sub(r"_\d+$", "", mirrored)


@every_schema
def test_normalisers_are_mirrored_onto_themselves(schema: KeypointSchema) -> None:
    """So that the length is the same of a mirrored face; and the first group is on the left."""
    for left, right in schema.normalisers.values():
        assert {*left, *right} <= {*range(schema.num_points)}
        assert {schema.flip[index] for index in left} == {*right}
        assert all(schema.names[index].startswith("left_eye") for index in left)
    assert "eye_centres" in schema.normalisers


@every_schema
def test_parts_hold_every_point(schema: KeypointSchema) -> None:
    assert {index for part in schema.parts for index in part} == {*range(schema.num_points)}


def test_ibug68_is_the_published_mark_up() -> None:
    """Sagonas et al. (2013), Fig. 1, 1-based there: what any mirrored pair of 300-W shows."""
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
    # rcn.md 8: between the midpoints of the corners of each eye, 37 and 40, 43 and 46.
    assert IBUG68.normalisers["eye_centres"] == ((36, 39), (42, 45))


def test_unknown_schema_is_refused_with_those_known() -> None:
    with pytest.raises(ValueError, match="unknown keypoint schema 'six'; known: five, ibug68"):
        keypoint_schema("six")
