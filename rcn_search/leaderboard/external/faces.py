"""Faces that another system predicted: the names, numbers and bounds that all file formats share.

Bounds: 48 MB for a file, 250,000 faces, 6 million numbers, 300 characters for a name, and a million pixels for the
distance of a point from the corner of its image. What exceeds one of them is refused.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rcn_search.errors import Faults, RcnSearchError

ExternalPredictions = dict[str, NDArray[np.float64]]
"""Image name to points, (number of points, 2), in pixels of the original image; NaN where there is no prediction."""

MAX_FACES = 250_000
MAX_NUMBERS = 6_000_000
MAX_NAME_CHARACTERS = 300
MAX_COORDINATE_PX = 1_000_000

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
_PLAIN = r"(?:[+-]?\d+(?:[.,]\d*)?(?:[eE][+-]?\d+)?|nan)?"
_PLAIN_TEXTS = re.compile(rf"{_PLAIN}(?:\n{_PLAIN})*", re.ASCII)
_NO_NUMBER = {"", "nan", "null", "none", "na", "n/a", "inf", "+inf", "-inf", "infinity", "-infinity"}


@dataclass(frozen=True, kw_only=True)
class ExternalFile:
    """What a file of external predictions holds; ``notes`` name what was not read."""

    faces: ExternalPredictions
    notes: list[str] = field(default_factory=list)


class FaceCollector:
    """Faces of one file, checked one by one; their faults are collected and raised together."""

    def __init__(self, num_points: int) -> None:
        self.faults = Faults()
        self._num_points = num_points
        self._faces: ExternalPredictions = {}
        self._decimal_mark: tuple[str, str] | None = None  # point or comma, and where it was first used

    def add(self, where: str, name: object, coordinates: Sequence[object]) -> None:
        """Add a face of ``where`` in the file, with x and y of each point in turn.

        A point with a coordinate that is empty or not finite is NaN: it has no prediction.

        Raises:
            RcnSearchError: There are more faces or numbers than are read.
        """
        if len(self._faces) >= MAX_FACES or len(self._faces) * self._num_points * 2 >= MAX_NUMBERS:
            raise RcnSearchError(f"more than {len(self._faces):,} faces of {self._num_points} points; split the file")
        if problem := _name_problem(name):
            self.faults.add(f"{where}: {problem}")
        elif name in self._faces:
            self.faults.add(f"{where}: image {name!r} occurs twice, so it is not clear which face is meant")
        else:
            try:
                self._faces[str(name)] = self._points(where, coordinates)
            except ValueError as error:
                self.faults.add(f"{where}, image {name!r}: {error}")

    def finish(self) -> ExternalPredictions:
        """Return the faces.

        Raises:
            RcnSearchError: A face has a fault, or there are no faces.
        """
        self.faults.raise_if_any()
        if not self._faces:
            raise RcnSearchError("there are no predictions in it")
        return self._faces

    def _points(self, where: str, coordinates: Sequence[object]) -> NDArray[np.float64]:
        flat = self._plain_numbers(where, coordinates)
        if flat is None:  # one by one, to name the first that is none
            flat = np.array([self._number(where, value) for value in coordinates], dtype=np.float64)
        points_k2 = flat.reshape(self._num_points, 2)
        if not np.abs(points_k2).max() <= MAX_COORDINATE_PX:  # also if one is NaN
            is_finite_k = np.isfinite(points_k2).all(axis=1)
            points_k2[~is_finite_k] = np.nan
            for point in np.nonzero(is_finite_k)[0]:
                x, y = points_k2[point]
                if max(abs(x), abs(y)) > MAX_COORDINATE_PX:
                    raise ValueError(f"point {point + 1} is at ({x:g}, {y:g}), which is in no image")
        return points_k2

    def _plain_numbers(self, where: str, coordinates: Sequence[object]) -> NDArray[np.float64] | None:
        """Convert numbers, or texts of numbers with one decimal mark, at once; None if there is anything else."""
        try:
            if all(type(value) is float or type(value) is int for value in coordinates):
                return np.array(coordinates, dtype=np.float64)
            text = "\n".join(map(str.strip, coordinates))  # type: ignore[arg-type]
            values = text.replace(",", ".").split("\n")
            mark = "," if "," in text else "." if "." in text else ""
            first_mark, _ = self._decimal_mark or (mark, "")
            if (mark and mark != first_mark) or ("," in text and "." in text) or len(values) != len(coordinates):
                return None
            if not _PLAIN_TEXTS.fullmatch(text):
                return None
            if mark and self._decimal_mark is None:
                self._decimal_mark = mark, where
            return np.array([value or "nan" for value in values], dtype=np.float64)
        except (TypeError, OverflowError):
            return None

    def _number(self, where: str, value: object) -> float:
        if isinstance(value, str):
            number, mark = _parse_text(value)
            first_mark, first_where = self._decimal_mark or (mark, where)
            if mark and mark != first_mark:
                raise ValueError(f"{value!r} has a decimal {mark!r}, but {first_where} has a decimal {first_mark!r}")
            if mark:
                self._decimal_mark = first_mark, first_where
            return number
        if value is None:
            return np.nan
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{reprlib.repr(value)} is not a number")
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{reprlib.repr(value)} is in no image") from None


def is_number(text: str) -> bool:
    """Whether a text is written as a number."""
    return _NUMBER.fullmatch(text.strip()) is not None


def _parse_text(text: str) -> tuple[float, str]:
    """Parse a number and find its decimal mark, empty if it has none; NaN for a text that stands for no number."""
    stripped = text.strip()
    if _NUMBER.fullmatch(stripped):
        mark = "," if "," in stripped else "." if "." in stripped else ""
        return float(stripped.replace(",", ".")), mark
    if stripped.casefold() in _NO_NUMBER:
        return np.nan, ""
    raise ValueError(f"{text[:40]!r} is not a number")


def _name_problem(name: object) -> str:
    if not isinstance(name, str) or not name.strip():
        return f"{reprlib.repr(name)} in place of the name of an image"
    if len(name) > MAX_NAME_CHARACTERS:
        return f"the name of the image has {len(name):,} characters; at most {MAX_NAME_CHARACTERS} are read"
    return "" if name.isprintable() else f"the name of the image, {name!r}, has control characters"
