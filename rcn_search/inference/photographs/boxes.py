"""Read the boxes of faces from a CSV file.

    image,x,y,width,height
    party/1.jpg,120,80,200,200

A photograph may have several lines. ``image`` is its path as given to the command, or the end of it.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from rcn_search.errors import Faults, RcnSearchError, list_first
from rcn_search.inference.photographs.listing import Photo

HEADER = ["image", "x", "y", "width", "height"]

BoxTuple = tuple[float, float, float, float]


def read_boxes(path: str) -> dict[str, list[BoxTuple]]:
    """Read the boxes of each image name: x, y, width, height in pixels of the upright photograph.

    Raises:
        RcnSearchError: The file is not of this form; the message names the lines.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text), strict=True))
    except FileNotFoundError:
        raise RcnSearchError(f"there is no file {path}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise RcnSearchError(f"{path} is not a CSV file: {error}") from error
    if not lines or [name.strip().lower() for name in lines[0]] != HEADER:
        raise RcnSearchError(f"{path}: the first line must be {','.join(HEADER)}")
    boxes: dict[str, list[BoxTuple]] = defaultdict(list)
    faults = Faults()
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        try:
            name, x, y, width, height = line[0], *map(float, line[1:])
        except ValueError:
            faults.add(f"line {number} is not an image and four numbers")
            continue
        if not name or not all(map(math.isfinite, (x, y, width, height))) or min(width, height) <= 0:
            faults.add(f"line {number} has no image, or a box without area")
            continue
        boxes[name.replace("\\", "/")].append((x, y, width, height))
    if faults.num_faults:
        try:
            faults.raise_if_any()
        except RcnSearchError as error:
            raise RcnSearchError(f"{path}: {error}") from None
    return dict(boxes)


def match_boxes(boxes: dict[str, list[BoxTuple]], photos: Sequence[Photo]) -> dict[str, list[BoxTuple]]:
    """Find the boxes of each photograph by its name, or by the end of its path: photograph's name to boxes.

    Raises:
        RcnSearchError: No photograph has boxes, or the name of an image is the end of several paths.
    """
    ends: dict[str, list[str]] = defaultdict(list)
    for photo in photos:
        parts = PurePosixPath(photo.name).parts
        for start in range(len(parts)):
            ends["/".join(parts[start:]).replace("//", "/")].append(photo.name)
    matched: dict[str, list[BoxTuple]] = {}
    for name, found in boxes.items():
        candidates = ends.get(str(PurePosixPath(name)), [])
        exact = [candidate for candidate in candidates if candidate == name]
        if len(candidates) > 1 and not exact:
            raise RcnSearchError(
                f"the boxes of {name!r} may be those of {list_first(candidates)}: write more of the path"
            )
        for candidate in exact or candidates:
            matched.setdefault(candidate, []).extend(found)
    if not matched:
        raise RcnSearchError(
            f"none of the {len(boxes):,} images with boxes is among the photographs: the file names "
            f"{list_first(list(boxes)[:3])}; the photographs are {list_first([photo.name for photo in photos[:3]])}"
        )
    return matched
