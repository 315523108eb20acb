"""CSV: a header, then a line for each face with the image name and x and y of each point in order.

image,x1,y1,x2,y2,...
AFLW/0001-image20056.jpg,103.2,88.1,...
"""

from __future__ import annotations

import csv
import io

from rcn_search.errors import RcnSearchError
from rcn_search.leaderboard.formats.base import ExternalPredictions, collect_faces


def parse(text: str) -> ExternalPredictions:
    """Parse the faces of a CSV file.

    Raises:
        RcnSearchError: There is no header, or a line does not fit it.
    """
    try:
        header, *lines = list(csv.reader(io.StringIO(text), strict=True)) or [[]]
    except csv.Error as error:
        raise RcnSearchError(f"not a CSV file: {error}") from error
    if len(header) < 3 or any(_is_number(name) for name in header):
        raise RcnSearchError("the first line must be a header: image,x1,y1,x2,y2,...")
    for number, line in enumerate(lines, start=2):
        if line and len(line) != len(header):
            raise RcnSearchError(f"line {number} has {len(line)} values; the header has {len(header)}")
    return collect_faces((line[0], [value if value.strip() else "nan" for value in line[1:]]) for line in lines if line)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
