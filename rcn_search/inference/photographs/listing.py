"""List the photographs that a user names: files, and folders with everything below them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rcn_search.errors import RcnSearchError, list_first

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".ppm", ".pgm", ".webp"})
"""Suffixes of the files of a folder that are taken for photographs. Files that are named themselves may have any."""


class Photo(NamedTuple):
    """A photograph to predict.

    Attributes:
        name: Its path as the user named it, or the folder's and the path below it, with slashes.
        short_name: Its path below the folder that all inputs share, by which pictures are named.
    """

    name: str
    short_name: str


class PhotoList(NamedTuple):
    """Photographs in order, and how many other files their folders hold."""

    photos: list[Photo]
    num_others: int


def list_photos(inputs: Sequence[str], *, out: Path | None = None) -> PhotoList:
    """List photographs, sorted within each folder, each once; what lies in the folder ``out`` is left out.

    Raises:
        RcnSearchError: An input does not exist, or there is no photograph at all.
    """
    if missing := [name for name in inputs if not Path(name).exists()]:
        raise RcnSearchError(f"there is no file or folder {list_first(missing)}")
    folders = [Path(name).absolute() if Path(name).is_dir() else Path(name).absolute().parent for name in inputs]
    shared = Path(os.path.commonpath(folders)) if folders else Path()
    names: dict[str, Photo] = {}
    num_others = 0
    for name in inputs:
        for path in _files(Path(name), out):
            if path.suffix.lower() in PHOTO_SUFFIXES or path == Path(name):
                short_name = path.absolute().relative_to(shared).as_posix()
                names.setdefault(short_name, Photo(path.as_posix(), short_name))
            else:
                num_others += 1
    if not names:
        raise RcnSearchError(
            f"no photograph in {list_first(list(inputs))}: {num_others:,} files, of which none ends in "
            f"{', '.join(sorted(PHOTO_SUFFIXES))}"
        )
    return PhotoList(list(names.values()), num_others)


def _files(path: Path, out: Path | None) -> Iterator[Path]:
    """A file itself, or all files below a folder, hidden ones excepted."""
    if not path.is_dir():
        yield path
        return
    left_out = out.absolute() if out else None
    for folder, below, files in os.walk(path):
        below[:] = sorted(
            name for name in below if not name.startswith(".") and Path(folder, name).absolute() != left_out
        )
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))
