"""Read a table of points: one row for each face.

    image,x1,y1,x2,y2,x3,y3                      points by number, from 1 or from 0
    image,left_x,left_y,right_x,right_y,…        or by name, in any order
    …,left_v                                     visibility: 0 not labeled, 1 hidden, 2 visible
    …,box_x,box_y,box_width,box_height           or xmin,ymin,xmax,ymax
    …,split,group,width,height                   split, identity, size of the image

The separator is a comma, a semicolon or a tab. A point whose cells are empty is not labeled.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rcn_search.data.importers.base import RowError
from rcn_search.data.importers.points.annotations import (
    MAX_FILE_BYTES,
    NOT_LABELED,
    Annotation,
    Content,
    Points,
    annotation,
    find_order,
    image_size,
    number,
)
from rcn_search.data.shards import DatasetError
from rcn_search.keypoints import KeypointSchema

IMAGE_HEADINGS = ("image", "image_path", "image_name", "file_name", "filename", "file", "path", "name")
_BOXES = (("box_x", "box_y", "box_width", "box_height"), ("box_x", "box_y", "box_w", "box_h"))
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_OTHERS = ("split", "group", "width", "height")
_COORDINATE = re.compile(r"(?:(?P<axis>[xyv])_?(?P<number>\d+)|(?P<name>.+?)[_. ](?P<suffix>[xyv]))")


def read(folder: Path, files: Sequence[str], schema: KeypointSchema) -> Content:
    """Read tables of points.

    Raises:
        DatasetError: A file is no table, or its heading does not have the points of the schema.
    """
    annotations, notes = [], []
    for file in files:
        found, note = _read_table(folder / file, file, schema)
        annotations += found
        notes += note
    return Content(annotations=annotations, notes=notes)


def _read_table(path: Path, file: str, schema: KeypointSchema) -> tuple[list[Annotation], list[str]]:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DatasetError(f"{path} has more than {MAX_FILE_BYTES:,} bytes")
    content = path.read_bytes()
    try:
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not a text file: {error}") from error
    heading = text.partition("\n")[0]
    separator = max(",;\t", key=heading.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        columns = _Columns(next(reader, []), schema, file)
        found = [columns.annotation(cells, reader.line_num) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise DatasetError(f"{path}, line {reader.line_num}: {error}") from error
    notes = [f"{file}: columns that are not used: {', '.join(columns.unused)}"] if columns.unused else []
    return found, notes


class _Columns:
    """Where the columns of a table are."""

    def __init__(self, heading: list[str], schema: KeypointSchema, file: str) -> None:
        self.schema, self.file, self.num_columns = schema, file, len(heading)
        names = [cell.strip() for cell in heading]
        place = {name.lower(): column for column, name in enumerate(names)}
        if len(place) < len(names):
            raise DatasetError(f"{file}: the heading has a column twice or without a name: {', '.join(names)[:200]}")
        image = next((name for name in IMAGE_HEADINGS if name in place), None)
        if image is None:
            raise DatasetError(f"{file}: no column 'image' in the heading {', '.join(names)[:200]!r}")
        self.image = place[image]
        self.others = {name: place[name] for name in _OTHERS if name in place}
        self.box = next((tuple(place[name] for name in each) for each in _BOXES if set(each) <= place.keys()), None)
        self.corners = tuple(place[name] for name in _CORNERS) if set(_CORNERS) <= place.keys() else None
        used = {self.image, *self.others.values(), *(self.box or ()), *(self.corners or ())}
        self.points = self._points(names, used)
        used |= {column for columns in self.points for column in columns.values()}
        self.unused = [name for column, name in enumerate(names) if column not in used]

    def _points(self, names: list[str], used: set[int]) -> list[dict[str, int]]:
        """Find the columns of each point of the schema by axis: x, y and, if there is one, v."""
        points: dict[str, dict[str, int]] = {}
        is_numbered = set()
        known = {name.lower(): name for name in self.schema.names}
        for column, name in enumerate(names):
            match = _COORDINATE.fullmatch(name.lower())
            if match is None or column in used:
                continue
            point = match["number"] or known.get(match["name"], match["name"])
            is_numbered |= {point} if match["number"] else set()
            points.setdefault(point, {})[match["axis"] or match["suffix"]] = column
        whole = [name for name, axes in points.items() if {"x", "y"} <= axes.keys()]
        if half := [name for name, axes in points.items() if len({"x", "y"} & axes.keys()) == 1]:
            raise DatasetError(f"{self.file}: the point {half[0]!r} has no column for x or for y")
        if set(whole) <= is_numbered and not set(self.schema.names) <= set(whole):
            order = sorted(whole, key=int)
            if len(order) != self.schema.num_points:
                raise DatasetError(
                    f"{self.file} has columns for {len(order)} points; the schema {self.schema.name!r} has "
                    f"{self.schema.num_points}"
                )
            if [int(name) - int(order[0]) for name in order] != list(range(len(order))) or int(order[0]) > 1:
                raise DatasetError(f"{self.file}: the points are not numbered without gaps: {', '.join(order)}")
            return [points[name] for name in order]
        return [points[whole[place]] for place in find_order(whole, self.schema, self.file)]

    def annotation(self, cells: list[str], line: int) -> Annotation:
        """Read a row."""

        def values() -> tuple[Points, tuple[float, ...] | None]:
            if len(cells) != self.num_columns:
                raise RowError(f"{len(cells)} cells, the heading has {self.num_columns}")
            points = [self._point(cells, name, axes) for name, axes in zip(self.schema.names, self.points, strict=True)]
            return np.array(points), self._box(cells)

        padded = [*map(str.strip, cells), *[""] * (self.num_columns - len(cells))]
        other = {name: padded[column] for name, column in self.others.items()}
        fields = {name: other[name] for name in ("split", "group") if name in other}
        size = image_size(other.get("width"), other.get("height"))
        image = padded[self.image].replace("\\", "/")
        return annotation(self.file, line, image, values, self.schema, size=size, **fields)

    def _point(self, cells: list[str], name: str, axes: dict[str, int]) -> tuple[float, float]:
        x, y = cells[axes["x"]].strip(), cells[axes["y"]].strip()
        if "v" in axes and number(cells[axes["v"]] or 0, f"the visibility of {name!r}") <= 0:
            return NOT_LABELED
        if x.lower() in ("", "nan") and y.lower() in ("", "nan"):
            return NOT_LABELED
        return number(x, f"x of {name!r}"), number(y, f"y of {name!r}")

    def _box(self, cells: list[str]) -> tuple[float, ...] | None:
        columns = self.box or self.corners
        if columns is None or not any(cells[column].strip() for column in columns):
            return None
        values = [number(cells[column], "a number of the box") for column in columns]
        if self.box is None:
            values[2:] = values[2] - values[0], values[3] - values[1]
        return tuple(values) if all(map(math.isfinite, values)) else None
