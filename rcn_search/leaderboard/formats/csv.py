"""CSV: a heading, then one line for each face: the name of its image, then x and y of each point in order.

image,x1,y1,x2,y2,...
AFLW/0001-image20056.jpg,103.2,88.1,...
"""

from __future__ import annotations

import csv
import io

from rcn_search.leaderboard.formats.base import ExternalPredictions, collect_faces


def parse(text: str) -> ExternalPredictions:
    """The faces of a CSV.

    Raises:
        ValueError: A line does not fit the heading.
    """
    try:
        heading, *lines = list(csv.reader(io.StringIO(text), strict=True)) or [[]]
    except csv.Error as error:
        raise ValueError(f"no CSV: {error}") from error
    if len(heading) < 3 or any(_is_number(name) for name in heading):
        raise ValueError("the first line must be a heading: image,x1,y1,x2,y2,...")
    for number, line in enumerate(lines, start=2):
        if line and len(line) != len(heading):
            raise ValueError(f"line {number} has {len(line)} values; the heading has {len(heading)}")
    return collect_faces((line[0], [value if value.strip() else "nan" for value in line[1:]]) for line in lines if line)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
