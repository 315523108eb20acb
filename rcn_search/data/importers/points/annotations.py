"""Annotations of faces as all layouts give them, and what their readers share.

Shape letters: k points of the schema.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rcn_search.data.importers.base import Row, RowError, plain_number
from rcn_search.data.shards import DatasetError
from rcn_search.keypoint_schemas.document import abbreviate
from rcn_search.keypoints import KeypointSchema

MAX_FILE_BYTES = 2_000_000_000  # of an annotation file
NOT_LABELED = (math.nan, math.nan)

Points = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """One annotated face.

    Attributes:
        row: Where it stands, for messages; its text is all that the annotation says.
        image: Name of the image as the file has it, with slashes.
        points_k2: x, y in pixels of the image as the tool saw it; NaN for points that are not labeled.
        box: x, y, width, height, if the file has one.
        size: Width and height of the image, if the file says so.
        split: Name of the split, if the file says so.
        group: Identity or photograph, if the file says so.
        folder: Folder of the annotation file, relative to the source.
        problem: Why it cannot be imported; None if nothing is known to be wrong.
    """

    row: Row
    image: str
    points_k2: Points
    box: tuple[float, float, float, float] | None = None
    size: tuple[int, int] | None = None
    split: str | None = None
    group: str | None = None
    folder: str = ""
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Content:
    """What the annotation files of a source say."""

    annotations: list[Annotation]
    notes: list[str] = field(default_factory=list)


class Layout(NamedTuple):
    """How a kind of label tool writes annotations.

    Attributes:
        read: Reads the annotation files; paths are relative to the folder.
        suffix: Suffix of annotation files.
        exif: Whether such tools turn pictures by their EXIF orientation before they are labeled.
        offset_px: Added to each coordinate, so that pixel i covers [i, i + 1).
        file_each: Whether each image has an annotation file of its own.
    """

    read: Callable[[Path, Sequence[str], KeypointSchema], Content]
    suffix: str
    exif: bool
    offset_px: float = 0.0
    file_each: bool = False


def annotation(
    file: str,
    line: int,
    image: str,
    read: Callable[[], tuple[Points, tuple[float, ...] | None]],
    schema: KeypointSchema,
    **fields: Any,
) -> Annotation:
    """Make an annotation of what ``read`` returns, points and box; one with a problem if it raises `RowError`."""
    problem, points_k2, box = None, np.full((schema.num_points, 2), np.nan), None
    try:
        points_k2, found = read()
        if not image:
            raise RowError("no image is named")
        if not np.isfinite(points_k2).any():
            raise RowError("no point is labeled")
        box = None if found is None else _checked_box(found)
    except RowError as error:
        problem = str(error)
    said = {"points": points_k2.tolist(), "box": box, "problem": problem, **fields}
    row = Row(file, line, f"{image} {json.dumps(said, sort_keys=True, default=str)}")
    folder = PurePosixPath(file.partition(", ")[0]).parent.as_posix()
    return Annotation(row=row, image=image, points_k2=points_k2, box=box, folder=folder, problem=problem, **fields)


def _checked_box(box: tuple[float, ...]) -> tuple[float, float, float, float]:
    x, y, width, height = box
    if not all(map(math.isfinite, box)):
        raise RowError("a number of the box is not finite")
    if width < 1 or height < 1:
        raise RowError(f"a box of no size: {width:g}x{height:g} pixels")
    return x, y, width, height


def number(value: Any, what: str) -> float:
    """Read a finite number.

    Raises:
        RowError: It is none.
    """
    try:
        if isinstance(value, bool):
            raise ValueError
        found = float(plain_number(value) if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        raise RowError(f"{what} is {str(value)[:40]!r}, not a number") from None
    if not math.isfinite(found):
        raise RowError(f"{what} is {str(value)[:40]}, not a finite number")
    return found


def image_size(width: Any, height: Any) -> tuple[int, int] | None:
    """Read the size of an image; None if the file does not say it."""
    try:
        size = int(width), int(height)
    except (TypeError, ValueError):
        return None
    return size if min(size) > 0 else None


def read_json(folder: Path, file: str) -> Any:
    """Read an annotation file.

    Raises:
        DatasetError: It is no JSON file, or too large.
    """
    path = folder / file
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DatasetError(f"{path} has more than {MAX_FILE_BYTES:,} bytes")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is no JSON file: {str(error)[:200]}") from error


def find_order(names: Sequence[str], schema: KeypointSchema, where: str) -> list[int]:
    """Find where each point of the schema stands among the names of a file.

    Raises:
        DatasetError: The names are not those of the schema.
    """
    place = {name: number for number, name in enumerate(names)}
    if missing := [name for name in schema.names if name not in place]:
        raise DatasetError(
            f"{where} has {len(names)} points ({abbreviate(list(names))}); the schema {schema.name!r} has "
            f"{schema.num_points}, of which it lacks {abbreviate(missing)}"
        )
    if extra := [name for name in names if name not in schema.names]:
        raise DatasetError(f"{where} has points that the schema {schema.name!r} lacks: {abbreviate(extra)}")
    if len(place) < len(names):
        raise DatasetError(f"{where} names a point twice: {abbreviate(list(names))}")
    return [place[name] for name in schema.names]
