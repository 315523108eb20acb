"""Find the images that annotations name: below a folder, by relative path, else by a name that is there once."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image, ImageOps

from rcn_search.data.importers.base import RowError
from rcn_search.data.importers.photo import open_photo
from rcn_search.data.importers.points.layouts import walk

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".webp")
_ORIENTATION = 0x0112  # tag of EXIF


class ImageFinder:
    """Finds images below a folder; a path of an annotation never leaves it, a link in the folder may."""

    def __init__(self, root: Path, *, without_suffix: bool = False) -> None:
        """Prepare for a folder; ``without_suffix``: annotations name images without their suffix."""
        self.root, self.without_suffix = root, without_suffix
        self.found_by_name: set[tuple[str, str]] = set()
        self._by_name: dict[str, list[str]] | None = None

    def find_all(self, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str | RowError]:
        """Find images by the folder and name that annotations give: paths relative to the root, or why there is none.

        An image that one annotation names by its path is never given to another that names another path.
        """
        found: dict[tuple[str, str], str | RowError] = {}
        keys = list(dict.fromkeys(wanted))
        for key in keys:
            if exact := self._by_path(*key):
                found[key] = exact
        claimed = {path for path in found.values() if isinstance(path, str)}
        names_of: dict[str, set[str]] = defaultdict(set)
        for key in keys:
            if key not in found:
                found[key] = outcome = self._by_unique_name(key[1])
                if isinstance(outcome, str):
                    self.found_by_name.add(key)
                    names_of[outcome].add(key[1])
        for key in list(self.found_by_name):
            path = found[key]
            if isinstance(path, str) and (path in claimed or len(names_of[path]) > 1):
                self.found_by_name.remove(key)
                found[key] = RowError(f"image is missing; {path} has its name, but belongs to other rows, too")
        return found

    def _by_path(self, folder: str, name: str) -> str | None:
        for base in dict.fromkeys((folder, "")):
            path = posixpath.normpath(posixpath.join(base, name))
            if path.startswith(("/", "..")):
                continue
            for suffix in self._suffixes:
                if _is_file(self.root / (path + suffix)):
                    return path + suffix
        return None

    @property
    def _suffixes(self) -> Sequence[str]:
        return (*SUFFIXES, *(suffix.upper() for suffix in SUFFIXES)) if self.without_suffix else ("",)

    def _by_unique_name(self, name: str) -> str | RowError:
        if self._by_name is None:
            self._by_name = defaultdict(list)
            for path in walk(self.root):
                stem, suffix = posixpath.splitext(path)
                if suffix.lower() in SUFFIXES:
                    self._by_name[posixpath.basename(stem if self.without_suffix else path)].append(path)
        paths = self._by_name.get(posixpath.basename(name), [])
        if len(paths) > 1:  # the one whose folders agree most
            ranked = sorted(paths, key=lambda path: _num_shared(path, name), reverse=True)
            if _num_shared(ranked[0], name) > _num_shared(ranked[1], name):
                return ranked[0]
            return RowError(f"{len(paths)} images are called {posixpath.basename(name)!r}; name it with its folder")
        if paths:
            return paths[0]
        path = posixpath.normpath(name)
        return RowError("the image path leaves the folder" if path.startswith(("/", "..")) else "image is missing")


def _num_shared(path: str, name: str) -> int:
    """Number of last folders that two paths share."""
    ours, theirs = posixpath.dirname(path).split("/")[::-1], posixpath.dirname(name).split("/")[::-1]
    return next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with NUL
        return False


def open_turned(root: Path, name: str, *, exif: bool) -> tuple[Image.Image, bool]:
    """Open an image as the label tool saw it; return it, and whether it carries an orientation that turns it.

    Args:
        root: Folder of the images.
        name: Path of the image below it; links are followed.
        exif: Whether the tool obeyed the EXIF orientation.

    Raises:
        RowError: The image cannot be read.
    """
    image = open_photo(root, name)
    has_orientation = image.getexif().get(_ORIENTATION, 1) not in (0, 1)
    if exif and has_orientation:
        image = ImageOps.exif_transpose(image)
    return image, has_orientation


def require_size(image: Image.Image, declared: tuple[int, int] | None) -> None:
    """Check that an image has the size that its annotation states.

    Raises:
        RowError: It has another, so its points would be wrong.
    """
    if declared is None or image.size == declared:
        return
    turned = image.size == declared[::-1]
    hint = "; it was turned, or not, by its EXIF orientation: see --exif" if turned else ""
    raise RowError(
        f"the image has {image.width}x{image.height} pixels, its annotation is for {declared[0]}x{declared[1]}{hint}"
    )
