"""Named keypoint schemas: what each point is, how a mirrored face renumbers them, which points normalise an error.

"Left" and "right" are the left and right of the image, as in MTFL, not of the person.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class KeypointSchema:
    """The meaning of the K points of a data set.

    Attributes:
        name: What manifests and protocols call it.
        names: K names; their order is the order of every array of points.
        flip: K indices; point k of a mirrored face is point ``flip[k]`` of the face. An involution.
        normalisers: For each named normaliser two groups of points. The normalising length is the distance between
            the means of the two groups, in the frame of the points.
        parts: Polylines to draw, each a tuple of indices.
    """

    name: str
    names: tuple[str, ...]
    flip: tuple[int, ...]
    normalisers: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    parts: tuple[tuple[int, ...], ...]

    @property
    def num_points(self) -> int:
        """K."""
        return len(self.names)


def _numbered(prefix: str, count: int) -> tuple[str, ...]:
    return tuple(f"{prefix}_{i}" for i in range(1, count + 1))


FIVE = KeypointSchema(
    name="five",
    names=("left_eye", "right_eye", "nose", "left_mouth", "right_mouth"),
    flip=(1, 0, 2, 4, 3),
    normalisers={"eye_centres": ((0,), (1,))},
    parts=((0, 1), (2,), (3, 4)),
)

# Multi-PIE, iBUG 68-point mark-up (Sagonas et al., 300-W, ICCV-W 2013), 0-based. ``eye_centres`` is the rule of the RCN
# code: midpoints of the two corners of each eye; ``pupils`` the mean of all six points of each eye.
IBUG68 = KeypointSchema(
    name="ibug68",
    names=(
        *_numbered("contour", 17),
        *_numbered("left_brow", 5),
        *_numbered("right_brow", 5),
        *_numbered("nose_bridge", 4),
        *_numbered("nose_base", 5),
        *_numbered("left_eye", 6),
        *_numbered("right_eye", 6),
        *_numbered("outer_lip", 12),
        *_numbered("inner_lip", 8),
    ),
    flip=(
        *range(16, -1, -1),
        *range(26, 16, -1),
        *range(27, 31),
        *range(35, 30, -1),
        *(45, 44, 43, 42, 47, 46),
        *(39, 38, 37, 36, 41, 40),
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
        *(64, 63, 62, 61, 60, 67, 66, 65),
    ),
    normalisers={
        "eye_centres": ((36, 39), (42, 45)),
        "outer_eye_corners": ((36,), (45,)),
        "pupils": ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47)),
    },
    parts=(
        tuple(range(0, 17)),
        tuple(range(17, 22)),
        tuple(range(22, 27)),
        tuple(range(27, 31)),
        tuple(range(31, 36)),
        (*range(36, 42), 36),
        (*range(42, 48), 42),
        (*range(48, 60), 48),
        (*range(60, 68), 60),
    ),
)

SCHEMAS: dict[str, KeypointSchema] = {schema.name: schema for schema in (FIVE, IBUG68)}


# Fewer points of a schema, by index, under a name of their own. 49 of 68: no contour, no inner corners of the mouth
# (rcn.md 8).
POINT_SUBSETS: dict[str, tuple[str, tuple[int, ...]]] = {
    "ibug49": ("ibug68", tuple(k for k in range(17, 68) if k not in (60, 64))),
}


def points_that_count(schema: KeypointSchema, wanted: str) -> list[int]:
    """Indices of the points of ``schema`` that a protocol for ``wanted`` keypoints counts.

    Raises:
        ValueError: ``wanted`` is neither the schema nor a subset of it.
    """
    if wanted == schema.name:
        return list(range(schema.num_points))
    of, points = POINT_SUBSETS.get(wanted, ("", ()))
    if of != schema.name:
        raise ValueError(f"{schema.name!r} points do not hold {wanted!r} points")
    return list(points)


def keypoint_schema(name: str) -> KeypointSchema:
    """The schema called ``name``.

    Raises:
        ValueError: No schema has that name.
    """
    if name not in SCHEMAS:
        raise ValueError(f"unknown keypoint schema {name!r}; known: {', '.join(sorted(SCHEMAS))}")
    return SCHEMAS[name]
