"""Read ``.pts`` files, one beside each image, as dlib, iBUG and menpo write them.

    version: 1
    n_points: 3
    {
    64.718822 102.736810      one-based: the center of the first pixel is 1, 1
    …
    }

The points have the order of the schema. ``nan nan`` is a point that is not labeled. The image has the name of the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from rcn_search.data.importers.base import RowError
from rcn_search.data.importers.points.annotations import NOT_LABELED, Content, Points, annotation, number
from rcn_search.keypoints import KeypointSchema


def read(folder: Path, files: Sequence[str], schema: KeypointSchema) -> Content:
    """Read ``.pts`` files; the image of each is named without its suffix."""
    return Content(
        annotations=[
            annotation(
                file,
                0,
                PurePosixPath(file).with_suffix("").as_posix(),
                lambda file=file: (parse(folder / file, schema), None),  # type: ignore[misc]
                schema,
            )
            for file in files
        ]
    )


def parse(path: Path, schema: KeypointSchema) -> Points:
    """Parse the points of a file (k, 2), as published.

    Raises:
        RowError: It does not have the points of the schema.
    """
    points: list[tuple[float, float]] = []
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    for line in filter(None, map(str.strip, re.split(r"[\n{}]", text))):
        if ":" in line:
            continue
        cells = line.split()
        if len(cells) != 2:
            raise RowError(f"{line[:40]!r} is not a point")
        if [cell.lower() for cell in cells] == ["nan", "nan"]:
            points.append(NOT_LABELED)
        else:
            points.append((number(cells[0], "an x"), number(cells[1], "a y")))
    if len(points) != schema.num_points:
        raise RowError(f"{len(points)} points; the schema {schema.name!r} has {schema.num_points}")
    return np.array(points)
