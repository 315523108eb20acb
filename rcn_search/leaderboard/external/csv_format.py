"""Parse CSV files of predictions: a header, then a line for each face, in whatever separator and decimal mark.

    image,x1,y1,x2,y2,…
    AFLW/0001-image20056.jpg,103.2,88.1,…

Bounds: those of `faces`, a million lines, and 100,000 characters for a line.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from rcn_search.errors import RcnSearchError, list_first
from rcn_search.keypoints import KeypointSchema
from rcn_search.leaderboard.external.csv_header import Columns, expected_header, read_header
from rcn_search.leaderboard.external.faces import ExternalFile, FaceCollector

MAX_LINES = 1_000_000
MAX_LINE_CHARACTERS = 100_000
_SEPARATORS = (",", ";", "\t")


def parse_csv(text: str, schema: KeypointSchema) -> ExternalFile:
    """Read the faces of a CSV file; the separator is a comma, a semicolon or a tab, the decimal mark "." or ",".

    Raises:
        RcnSearchError: The header or lines cannot be read; the message shows the header that is expected, or names the
            lines.
    """
    lines = _lines(text)
    first = next(lines, None)
    try:
        if first is None:
            raise RcnSearchError("the file is empty")
        separator = _find_separator(first[1])
        header = _split(first[1], separator)
        while len(header) > 1 and not header[-1].strip():  # a separator at the end of each line
            del header[-1]
        columns = read_header(header, schema)
    except RcnSearchError as error:
        raise RcnSearchError(f"{error}. Expected: {expected_header(schema)}") from None
    faces = FaceCollector(schema.num_points)
    for number, line in lines:
        try:
            cells = _fit(_split(line, separator), columns, separator)
        except RcnSearchError as error:
            faces.faults.add(f"line {number}: {error}")
            continue
        if any(cell.strip() for cell in cells):
            faces.add(f"line {number}", cells[columns.image].strip(), [cells[column] for column in columns.coordinates])
    notes = [f"columns not read: {list_first(columns.ignored)}"] if columns.ignored else []
    return ExternalFile(faces=faces.finish(), notes=notes)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, with their numbers from 1."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    number, counted = 1, 0
    for match in re.finditer(r"[^\n]+", text):
        number, counted = number + text.count("\n", counted, match.start()), match.start()
        if number > MAX_LINES:
            raise RcnSearchError(f"there are more than {MAX_LINES:,} lines; split the file")
        if match.end() - match.start() > MAX_LINE_CHARACTERS:
            raise RcnSearchError(f"line {number} has more than {MAX_LINE_CHARACTERS:,} characters")
        yield number, match[0]


def _find_separator(header: str) -> str:
    counts = {separator: len(_split(header, separator)) for separator in _SEPARATORS}
    best = max(counts, key=lambda separator: counts[separator])
    if counts[best] == 1:
        raise RcnSearchError("the first line has no comma, semicolon or tab; it must be a header")
    return best


def _split(line: str, separator: str) -> list[str]:
    """Split one line, so that a quote that is not closed ends with it."""
    try:
        return next(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error as error:
        raise RcnSearchError(f"not a CSV file: {error}") from None


def _fit(cells: list[str], columns: Columns, separator: str) -> list[str]:
    """Drop empty cells after the last column; `RcnSearchError` if the number of cells is not that of the header."""
    num_expected = columns.num_columns
    if len(cells) > num_expected and not any(cell.strip() for cell in cells[num_expected:]):
        return cells[:num_expected]
    if len(cells) != num_expected:
        hint = ""
        if separator == "," and len(cells) > num_expected:
            hint = "; decimal commas need another separator, such as a semicolon"
        raise RcnSearchError(f"{len(cells)} values; the header has {num_expected}{hint}")
    return cells
