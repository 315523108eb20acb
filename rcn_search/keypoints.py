"""Named keypoint schemas: names of the points, how a flip renumbers them, and which points normalize an error.

"Left" and "right" are the left and right of the image, as in MTFL, not of the person.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from rcn_search.errors import RcnSearchError


@dataclass(frozen=True, kw_only=True)
class KeypointSchema:
    """Meaning of the K points of a data set.

    Attributes:
        names: Names of the K points, in the order of every array of points.
        flip: K indices, an involution: point k of a flipped face is point ``flip[k]`` of the face.
        normalizers: Name of a normalizer to two groups of points. The normalizing length is the distance between the
            means of the two groups, in the units of the points.
        parts: Polylines to draw, each a tuple of indices.
    """

    name: str
    names: tuple[str, ...]
    flip: tuple[int, ...]
    normalizers: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    parts: tuple[tuple[int, ...], ...]

    @property
    def num_points(self) -> int:
        """Number of points, K."""
        return len(self.names)


def _numbered(**counts: int) -> tuple[str, ...]:
    return tuple(f"{prefix}_{i}" for prefix, count in counts.items() for i in range(1, count + 1))


def _polylines(*starts: int, closed: bool = False) -> tuple[tuple[int, ...], ...]:
    """List the polylines from each index to before the next, each open or closed."""
    return tuple((*range(start, stop), *[start] * closed) for start, stop in pairwise(starts))


FIVE = KeypointSchema(
    name="five",
    names=("left_eye", "right_eye", "nose", "left_mouth", "right_mouth"),
    flip=(1, 0, 2, 4, 3),
    normalizers={"eye_centers": ((0,), (1,))},
    parts=((0, 1), (2,), (3, 4)),
)

# Multi-PIE, iBUG 68-point mark-up (Sagonas et al., 300-W, ICCV-W 2013), 0-based. ``eye_centers`` is the rule of the RCN
# code: midpoints of the two corners of each eye; ``pupils`` the mean of all six points of each eye.
IBUG68 = KeypointSchema(
    name="ibug68",
    names=(
        *_numbered(contour=17, left_brow=5, right_brow=5, nose_bridge=4, nose_base=5),
        *_numbered(left_eye=6, right_eye=6, outer_lip=12, inner_lip=8),
    ),
    flip=(
        *(*range(16, -1, -1), *range(26, 16, -1)),
        *(*range(27, 31), *range(35, 30, -1)),
        *(45, 44, 43, 42, 47, 46),
        *(39, 38, 37, 36, 41, 40),
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
        *(64, 63, 62, 61, 60, 67, 66, 65),
    ),
    normalizers={
        "eye_centers": ((36, 39), (42, 45)),
        "outer_eye_corners": ((36,), (45,)),
        "pupils": ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47)),
    },
    parts=(*_polylines(0, 17, 22, 27, 31, 36), *_polylines(36, 42, 48, 60, 68, closed=True)),
)

# WFLW's 98 points (Wu et al., CVPR 2018), 0-based. A brow is numbered along its upper line, then back along its
# lower line.
WFLW98 = KeypointSchema(
    name="wflw98",
    names=(
        *_numbered(contour=33, left_brow=9, right_brow=9, nose_bridge=4, nose_base=5),
        *_numbered(left_eye=8, right_eye=8, outer_lip=12, inner_lip=8),
        *("left_eye_pupil", "right_eye_pupil"),
    ),
    flip=(
        *range(32, -1, -1),
        *(46, 45, 44, 43, 42, 50, 49, 48, 47),
        *(37, 36, 35, 34, 33, 41, 40, 39, 38),
        *(*range(51, 55), *range(59, 54, -1)),
        *(72, 71, 70, 69, 68, 75, 74, 73),
        *(64, 63, 62, 61, 60, 67, 66, 65),
        *(82, 81, 80, 79, 78, 77, 76, 87, 86, 85, 84, 83),
        *(92, 91, 90, 89, 88, 95, 94, 93),
        *(97, 96),
    ),
    normalizers={"eye_centers": ((60, 64), (68, 72)), "outer_eye_corners": ((60,), (72,)), "pupils": ((96,), (97,))},
    parts=(
        *(*_polylines(0, 33), *_polylines(33, 42, 51, closed=True), *_polylines(51, 55, 60)),
        *(*_polylines(60, 68, 76, 88, 96, closed=True), (96,), (97,)),
    ),
)

# COFW's 29 points (Burgos-Artizzu et al., ICCV 2013), 0-based. The pairs that a flip exchanges and the corners of the
# eyes are those of the published scoring code; which of two lids or lines of a lip is the upper one is from the figure.
COFW29 = KeypointSchema(
    name="cofw29",
    names=(
        *("left_brow_outer", "right_brow_outer", "left_brow_inner", "right_brow_inner"),
        *("left_brow_upper", "left_brow_lower", "right_brow_upper", "right_brow_lower"),
        *("left_eye_outer", "right_eye_outer", "left_eye_inner", "right_eye_inner"),
        *("left_eye_upper", "left_eye_lower", "right_eye_upper", "right_eye_lower"),
        *("left_eye_pupil", "right_eye_pupil"),
        *("left_nose", "right_nose", "nose_upper", "nose_lower"),
        *("left_mouth", "right_mouth"),
        *("upper_lip_upper", "upper_lip_lower", "lower_lip_upper", "lower_lip_lower"),
        "chin",
    ),
    flip=(
        *(1, 0, 3, 2, 6, 7, 4, 5),
        *(9, 8, 11, 10, 14, 15, 12, 13, 17, 16),
        *(19, 18, 20, 21, 23, 22),
        *range(24, 29),
    ),
    normalizers={"eye_centers": ((8, 10), (9, 11)), "outer_eye_corners": ((8,), (9,)), "pupils": ((16,), (17,))},
    parts=(
        *((0, 4, 2, 5, 0), (1, 6, 3, 7, 1)),
        *((8, 12, 10, 13, 8), (9, 14, 11, 15, 9), (16,), (17,)),
        *((18, 20, 19, 21, 18), (22, 24, 23, 27, 22), (22, 25, 23, 26, 22), (28,)),
    ),
)

# AFLW's 21 points without the two of the ears, 0-based. The center of each eye is a point of its own.
AFLW19 = KeypointSchema(
    name="aflw19",
    names=(
        *("left_brow_outer", "left_brow_center", "left_brow_inner"),
        *("right_brow_inner", "right_brow_center", "right_brow_outer"),
        *("left_eye_outer", "left_eye_center", "left_eye_inner"),
        *("right_eye_inner", "right_eye_center", "right_eye_outer"),
        *("left_nose", "nose", "right_nose"),
        *("left_mouth", "mouth", "right_mouth"),
        "chin",
    ),
    flip=(5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 14, 13, 12, 17, 16, 15, 18),
    normalizers={"eye_centers": ((7,), (10,)), "outer_eye_corners": ((6,), (11,))},
    parts=((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11), (12, 13, 14), (15, 16, 17), (18,)),
)

SCHEMAS: dict[str, KeypointSchema] = {schema.name: schema for schema in (FIVE, IBUG68, WFLW98, COFW29, AFLW19)}

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
    """Look up a schema by its name.

    Raises:
        RcnSearchError: No schema has that name.
    """
    if name not in SCHEMAS:
        raise RcnSearchError(f"unknown keypoint schema {name!r}; known: {', '.join(SCHEMAS)}")
    return SCHEMAS[name]
