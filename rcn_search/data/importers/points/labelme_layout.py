"""Read LabelMe's files, one beside each image.

    {"imagePath": "a.jpg", "imageWidth": 640, "imageHeight": 480,
     "shapes": [{"label": "tip", "points": [[12.5, 30.0]], "shape_type": "point", "group_id": 1}, …]}

A shape of the type point is a point of the schema, named by its label. Shapes with the same ``group_id`` are one face;
those without one are a face together. A rectangle of the same group is its box. Other shapes are not read. Points that
a group lacks are not labeled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rcn_search.data.importers.base import RowError
from rcn_search.data.importers.points.annotations import (
    Annotation,
    Content,
    Points,
    annotation,
    image_size,
    number,
    read_json,
)
from rcn_search.data.shards import DatasetError
from rcn_search.keypoint_schemas.document import abbreviate
from rcn_search.keypoints import KeypointSchema


def read(folder: Path, files: Sequence[str], schema: KeypointSchema) -> Content:
    """Read LabelMe's files; one that is damaged is a face that cannot be imported.

    Raises:
        DatasetError: No file is a LabelMe file.
    """
    annotations, num_empty, num_damaged = [], 0, 0
    for file in files:
        try:
            found = _read_file(folder, file, schema)
        except DatasetError as error:
            num_damaged += 1
            if num_damaged == len(files):
                raise
            found = [annotation(file, 0, "", _refuse(str(error)), schema)]
        annotations += found
        num_empty += not found
    notes = [f"{num_empty:,} LabelMe files have no point"] if num_empty else []
    return Content(annotations=annotations, notes=notes)


def _refuse(problem: str) -> Callable[[], tuple[Points, None]]:
    def read() -> tuple[Points, None]:
        raise RowError(problem)

    return read


def _read_file(folder: Path, file: str, schema: KeypointSchema) -> list[Annotation]:
    document = read_json(folder, file)
    if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
        raise DatasetError(f"{folder / file} is no LabelMe file: it has no list shapes")
    shapes = [shape for shape in document["shapes"] if isinstance(shape, dict)]
    groups: dict[Any, list[dict[str, Any]]] = {}
    for shape in shapes:
        if shape.get("shape_type") in ("point", "rectangle"):
            groups.setdefault(shape.get("group_id"), []).append(shape)
    image = document.get("imagePath")
    size = image_size(document.get("imageWidth"), document.get("imageHeight"))
    with_points = {
        key: members for key, members in groups.items() if any(each["shape_type"] == "point" for each in members)
    }
    return [
        annotation(
            file if len(with_points) == 1 else f"{file}, group {key}",
            0,
            image.replace("\\", "/") if isinstance(image, str) else "",
            lambda members=members: (_points(members, schema), _box(members)),  # type: ignore[misc]
            schema,
            size=size,
        )
        for key, members in with_points.items()
    ]


def _points(shapes: list[dict[str, Any]], schema: KeypointSchema) -> Points:
    points_k2 = np.full((schema.num_points, 2), np.nan)
    for shape in shapes:
        if shape["shape_type"] != "point":
            continue
        label = str(shape.get("label"))
        if label not in schema.names:
            raise RowError(f"there is no point {label[:60]!r}; {schema.name!r} has {abbreviate(list(schema.names))}")
        index = schema.names.index(label)
        if np.isfinite(points_k2[index]).any():
            raise RowError(f"the point {label!r} is there twice; faces of one image need different group_id")
        points_k2[index] = _corners(shape, 1)[0]
    return points_k2


def _box(shapes: list[dict[str, Any]]) -> tuple[float, ...] | None:
    rectangles = [shape for shape in shapes if shape["shape_type"] == "rectangle"]
    if len(rectangles) > 1:
        raise RowError(f"{len(rectangles)} rectangles for one face; faces of one image need different group_id")
    if not rectangles:
        return None
    corners_n2 = np.array(_corners(rectangles[0], 2))  # two opposite corners in any order, or all four
    low, high = corners_n2.min(axis=0).tolist(), corners_n2.max(axis=0).tolist()
    return low[0], low[1], high[0] - low[0], high[1] - low[1]


def _corners(shape: dict[str, Any], least: int) -> list[tuple[float, float]]:
    points = shape.get("points")
    if not isinstance(points, list) or len(points) < least or (least == 1 and len(points) > 1):
        raise RowError(f"the {shape['shape_type']} {str(shape.get('label'))[:60]!r} has no coordinates")
    if not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise RowError(f"the {shape['shape_type']} {str(shape.get('label'))[:60]!r} has points that are not x, y")
    return [(number(x, "an x"), number(y, "a y")) for x, y in points]
