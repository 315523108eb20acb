"""Text that others wrote, made harmless before a terminal or a spreadsheet gets it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from rcn_search.storage.user_info import hide_user_info

# Control characters except newline and tab, marks that change the direction of text or cannot be seen, and halves of
# surrogate pairs, which cannot be encoded. The two joiners of Persian and Indian scripts are kept.
_UNSAFE = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_FORMULA = re.compile(r"[=+\-@\t\r\n]")


class PlainConsole(Console):
    """Console through which all text of others is printed: `printable`, and brackets are no markup."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render every text, also those within tables, as it may be printed."""
        if isinstance(renderable, str):
            renderable = printable(renderable)
        elif isinstance(renderable, Text) and (shown := printable(renderable.plain)) != renderable.plain:
            renderable = renderable.blank_copy(shown)
        return super().render(renderable, options)


def printable(text: str) -> str:
    r"""Escape control and invisible characters, and remove user information from URIs; newlines and tabs stay.

    >>> printable("\x1b[2J")
    '\\x1b[2J'
    """
    return hide_user_info(escape_controls(text))


def escape_controls(text: str) -> str:
    r"""Escape control and invisible characters, as in ``\x1b``; newlines and tabs stay."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def json_text(document: Any) -> str:
    """Encode a document as JSON for people and programs; unsafe characters are escaped, so no value changes."""
    text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
    return _UNSAFE.sub(lambda match: json.dumps(match[0])[1:-1], text) + "\n"


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Make CSV of rows of values, in which no text is a formula: one that begins like it gets an apostrophe."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([csv_cell(value) for value in row] for row in rows)
    return stream.getvalue()


def csv_cell(value: Any) -> Any:
    """Return a value for a cell; text is made `printable` and, unless it is a number, begins with no ``= + - @``.

    >>> csv_cell("=1+1"), csv_cell("-3.5"), csv_cell(-3.5)
    ("'=1+1", '-3.5', -3.5)
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
