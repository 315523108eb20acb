"""Read the header of a CSV file of predictions: which column is which coordinate of which keypoint, by name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from rcn_search.errors import RcnSearchError, list_first
from rcn_search.keypoints import KeypointSchema
from rcn_search.leaderboard.external.faces import is_number

IMAGE_COLUMNS = (
    *("image", "img", "image_name", "img_name", "image_path", "img_path", "image_file", "imgpath"),
    *("file", "filename", "file_name", "path", "name"),
)
ID_COLUMNS = ("image_id", "img_id", "id")
"""Names of the column of image names; one of the second kind is used only if there is none of the first."""

# What other programs write beside names and points: index, sizes, boxes, confidences, third coordinates, video fields.
_SIZE = r"(?:(?:image|img)_)?(?:w|h|width|height)"
_CONFIDENCE = r"(?:score|confidence|conf|prob|probability|radius|visible|visibility|occluded|v|z)"
_IGNORED = re.compile(
    rf"(?:unnamed_?\d*)?|index|idx|row|{_SIZE}|(?:bbox|box|rect|face)(?:_\w+)?|{_CONFIDENCE}s?_?\d*|\w+_{_CONFIDENCE}"
    r"|frame|timestamp|success|split|yaw|pitch|roll"
)
_AXIS_FIRST = re.compile(r"([xy])_?(.+)")
_AXIS_LAST = re.compile(r"(.+?)_?([xy])")
_NUMBERED = re.compile(r"(?:point|pt|p|landmark|lm|keypoint|kpt|kp)?_?0*(\d{1,4})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Columns of a CSV file, counted from 0.

    Attributes:
        image: Column of the image name.
        coordinates: Columns of x and y of each keypoint in turn, in the order of the schema.
        ignored: Names of the columns that are not read.
        num_columns: Number of columns that the header names.
    """

    image: int
    coordinates: list[int]
    ignored: list[str]
    num_columns: int


def expected_header(schema: KeypointSchema) -> str:
    """Describe the header that a file for the points of ``schema`` needs.

    >>> from rcn_search.keypoints import FIVE
    >>> expected_header(FIVE)
    'image,x1,y1,x2,y2,…,x5,y5 in any order, or image,left_eye_x,left_eye_y,…'
    """
    num, first = schema.num_points, schema.names[0]
    numbered = f"x1,y1,x2,y2,…,x{num},y{num}" if num > 2 else ",".join(f"x{k},y{k}" for k in range(1, num + 1))
    return f"image,{numbered} in any order, or image,{first}_x,{first}_y,…"


def read_header(cells: Sequence[str], schema: KeypointSchema) -> Columns:
    """Find the columns of the image name and of each coordinate.

    Coordinates are numbered from 0 or 1 in the order of the schema (``x1``, ``y_01``, ``p3_x``, …), or named
    (``nose_x``).

    Raises:
        RcnSearchError: A column is unknown, missing or twice there, or the first line is no header.
    """
    names = [_normalize(cell) for cell in cells]
    if any(is_number(cell) for cell in cells):
        raise RcnSearchError("the first line has numbers; it must be a header")
    image = _image_column(names)
    columns: dict[str, dict[int | str, int]] = {"x": {}, "y": {}}  # axis to keypoint (number or name) to column
    ignored, unknown = [], []
    is_box = {"x", "y", "w", "h"} <= set(names) or {"x", "y", "width", "height"} <= set(names)
    for column, name in enumerate(names):
        if column == image:
            continue
        if (is_box and name in ("x", "y")) or name in (*IMAGE_COLUMNS, *ID_COLUMNS) or _IGNORED.fullmatch(name):
            ignored.append(cells[column].strip() or "without a name")
        elif (found := _coordinate(name, schema)) is None:
            unknown.append(cells[column].strip())
        elif found[1] in columns[found[0]]:
            first = cells[columns[found[0]][found[1]]]
            raise RcnSearchError(f"columns {first.strip()!r} and {cells[column].strip()!r} are the same coordinate")
        else:
            columns[found[0]][found[1]] = column
    if unknown:
        raise RcnSearchError(f"unknown columns in the header, remove or rename them: {list_first(unknown)}")
    return Columns(
        image=image,
        coordinates=_in_schema_order(columns["x"], columns["y"], schema),
        ignored=ignored,
        num_columns=len(cells),
    )


def _normalize(cell: str) -> str:
    """Lower case, with single underscores for blanks and punctuation."""
    return re.sub(r"[^\w]+|_+", "_", cell.strip().casefold()).strip("_")


def _image_column(names: Sequence[str]) -> int:
    for known in (IMAGE_COLUMNS, ID_COLUMNS):
        found = [column for column, name in enumerate(names) if name in known]
        if len(found) > 1:
            both = " and ".join(repr(names[column]) for column in found[:2])
            raise RcnSearchError(f"columns {both} may both name the image; keep one of them")
        if found:
            return found[0]
    if names and not names[0]:  # how pandas writes an index
        return 0
    raise RcnSearchError(f"no column names the image; call it {', '.join(IMAGE_COLUMNS[:1] + ID_COLUMNS[:1])} or path")


def _coordinate(name: str, schema: KeypointSchema) -> tuple[str, int | str] | None:
    """Axis and keypoint of a column, a number as written or a name; None if it is no coordinate."""
    known = {_normalize(keypoint): keypoint for keypoint in schema.names}
    for pattern, axis, label in ((_AXIS_FIRST, 1, 2), (_AXIS_LAST, 2, 1)):
        if match := pattern.fullmatch(name):
            if match[label] in known:
                return match[axis], known[match[label]]
            if number := _NUMBERED.fullmatch(match[label]):
                return match[axis], int(number[1])
    return None


def _in_schema_order(x: dict[int | str, int], y: dict[int | str, int], schema: KeypointSchema) -> list[int]:
    """Columns of x and y of each keypoint in turn."""
    missing = defaultdict(list)
    for axis, given, other in (("x", x, y), ("y", y, x)):
        for keypoint in other:
            if keypoint not in given:
                missing[axis].append(str(keypoint))
    if missing:
        texts = [f"no {axis} of {list_first(keypoints)}" for axis, keypoints in missing.items()]
        raise RcnSearchError(f"the header has {' and '.join(texts)}")
    num = schema.num_points
    if len(x) != num:
        raise RcnSearchError(f"the header has {len(x)} points; {schema.name!r} has {num}")
    for keypoints in (range(1, num + 1), range(num), schema.names):
        if x.keys() == set(keypoints):
            return [column for keypoint in keypoints for column in (x[keypoint], y[keypoint])]
    raise RcnSearchError(f"number the points from 0 or from 1 without a gap, or name them all as {schema.name!r} does")
