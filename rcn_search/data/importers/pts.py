"""Read folders of ``.pts`` files as iBUG publishes 300-W: a text file of 68 points beside the photograph of each face.

    version: 1
    n_points:  68
    {
    64.718822 102.736810      one-based: the center of the first pixel is 1, 1
    }

The header and the braces may be missing; every other problem is a `RowError`.
"""

from __future__ import annotations

import re
from pathlib import Path
from stat import S_ISREG

import numpy as np
from numpy.typing import NDArray

from rcn_search.data.importers.base import Row, RowError, plain_number

NUM_POINTS = 68
_COMMON_SUFFIXES = (".jpg", ".png", ".jpeg", ".JPG", ".PNG", ".JPEG")
_PHOTO_SUFFIXES = (
    *_COMMON_SUFFIXES,
    *(".Jpg", ".Png", ".Jpeg"),
    *(spelled for suffix in (".bmp", ".webp", ".ppm", ".pgm") for spelled in (suffix, suffix.upper(), suffix.title())),
)
"""In the order in which they are tried; the first six are those of the published folders."""
_MAX_BYTES = 65_536  # of an annotation file; 68 points take two thousand
_UNREADABLE = "annotation cannot be read: "
_NUMBERED_FACE = re.compile(r"(.*\d)\s*_\d+")


def read_rows(root: Path, folder: str) -> list[Row]:
    """List the faces of ``root/folder``, one row for each, sorted by name; an empty list if the folder is missing.

    Hidden files do not count: macOS adds a ``._x.pts`` to each ``x.pts`` on a disk of another system.
    """
    directory = root / folder
    files = list(directory.iterdir()) if directory.is_dir() else []
    prefix = f"{folder}/" if folder else ""
    return [
        Row(f"{prefix}{path.name}", 0, _read_text(path))
        for path in sorted(files, key=lambda path: path.name)
        if path.suffix.lower() == ".pts" and not path.name.startswith(".")
    ]


def _read_text(path: Path) -> str:
    """Read an annotation file, or say why it cannot be read, so that its row is refused and counted."""
    try:
        if not S_ISREG(path.stat().st_mode):  # opening a FIFO would wait
            return f"{_UNREADABLE}not a file"
        with path.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        return f"{_UNREADABLE}{error.strerror}"
    if len(content) > _MAX_BYTES:
        return f"{_UNREADABLE}over {_MAX_BYTES:,} bytes"
    return content.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def face_id(row: Row) -> str:
    """Name of the face: its file without the suffix."""
    return row.file[: -len(".pts")]


def photo_id(row: Row) -> str:
    """Name of the photograph that shows the face; several faces may share it.

    In afw, helen and ibug the last number of ``134212_2`` counts the faces of one photograph. In lfpw each
    ``image_0001`` is a photograph of its own.
    """
    face = face_id(row)
    folder, slash, name = face.rpartition("/")
    numbered = _NUMBERED_FACE.fullmatch(name)
    return folder + slash + (numbered[1] if numbered else name)


def photo_name(root: Path, row: Row) -> str:
    """Find the image file of a face, which is named after the face or, if faces share it, after the photograph."""
    for stem in dict.fromkeys((face_id(row), photo_id(row))):
        for suffix in _PHOTO_SUFFIXES:
            if (root / (stem + suffix)).is_file():
                return stem + suffix
    raise RowError("image is missing")


def parse_points(text: str) -> NDArray[np.float64]:
    """Parse the points of a file, as published (one-based): (68, 2)."""
    if text.startswith(_UNREADABLE):
        raise RowError(text)
    points = []
    for line in filter(None, map(str.strip, re.split(r"[\n{}]", text))):
        name, colon, value = line.partition(":")
        if colon:
            if name.strip() == "n_points" and value.strip() != str(NUM_POINTS):
                raise RowError(f"malformed file: n_points is {value.strip()[:20]!r} instead of {NUM_POINTS}")
            continue
        try:
            x, y = (float(plain_number(number)) for number in line.split())
        except ValueError:
            raise RowError(f"malformed file: {line[:40]!r} is not a point") from None
        points.append((x, y))
    if len(points) != NUM_POINTS:
        raise RowError(f"malformed file: {len(points)} points instead of {NUM_POINTS}")
    points_k2 = np.array(points)
    if not np.isfinite(points_k2).all():
        raise RowError("malformed file: a coordinate is not finite")
    return points_k2
