"""The layouts that label tools write, where their files are, and which layout a folder looks like."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from rcn_search.data.importers.points import coco_layout, csv_layout, labelme_layout, pts_layout
from rcn_search.data.importers.points.annotations import Content, Layout
from rcn_search.data.shards import CLAIM_NAME, DatasetError
from rcn_search.keypoints import KeypointSchema

LAYOUTS = {
    "csv": Layout(csv_layout.read, ".csv", exif=False),
    "coco": Layout(coco_layout.read, ".json", exif=True),
    "pts": Layout(pts_layout.read, ".pts", exif=False, offset_px=-0.5, file_each=True),
    "labelme": Layout(labelme_layout.read, ".json", exif=True, file_each=True),
}
_MAX_BYTES_LOOKED_AT = 50_000_000
_NUM_FILES_LOOKED_AT = 20


def read_annotations(source: Path, layout: str, schema: KeypointSchema) -> tuple[Path, list[str], Content]:
    """Read the annotations of a folder, or of one file; return the folder, the files read and what they say.

    Raises:
        DatasetError: There is nothing to read, or it has another layout; the message says which it looks like.
    """
    if layout not in LAYOUTS:
        raise DatasetError(f"unknown layout {layout!r}; known: {', '.join(LAYOUTS)}")
    if not source.exists():
        raise DatasetError(f"{source} does not exist")
    folder = source if source.is_dir() else source.parent
    try:
        files = [source.name] if source.is_file() else find_files(source, layout)
        if not files:
            raise DatasetError(f"{source} holds no {LAYOUTS[layout].suffix} file")
        return folder, files, LAYOUTS[layout].read(folder, files, schema)
    except DatasetError as error:
        guess = looks_like(source)
        if guess in (None, layout):
            raise
        raise DatasetError(f"{source} looks like the layout {guess}: give --layout {guess} ({error})") from error


def find_files(folder: Path, layout: str) -> list[str]:
    """List the annotation files of a folder, sorted, relative to it.

    Tables and COCO files lie in the folder itself; below it is looked at where it has none.
    """
    suffix = LAYOUTS[layout].suffix
    found = [file for file in walk(folder) if file.lower().endswith(suffix)]
    top = [file for file in found if "/" not in file]
    return sorted(found if LAYOUTS[layout].file_each else top or found)


def walk(folder: Path) -> Iterator[str]:
    """List the files below a folder, relative to it, through links to folders; no hidden ones and no data sets."""
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen or CLAIM_NAME in names:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(parent).relative_to(folder)
        yield from ((below / name).as_posix() for name in sorted(names) if not name.startswith("."))


def looks_like(source: Path) -> str | None:
    """Guess the layout of a folder or file by its files; None if it looks like none."""
    names = [source.name] if source.is_file() else list(walk(source))
    folder = source.parent if source.is_file() else source
    json_names = [name for name in names if name.lower().endswith(".json")]
    for name in json_names[:_NUM_FILES_LOOKED_AT]:
        if (guess := _json_layout(folder / name)) is not None:
            return guess
    return next((each for each in ("pts", "csv") for name in names if name.lower().endswith(f".{each}")), None)


def _json_layout(path: Path) -> str | None:
    if path.stat().st_size > _MAX_BYTES_LOOKED_AT:
        return "coco"
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    return "labelme" if "shapes" in document else "coco" if {"images", "annotations"} <= document.keys() else None
