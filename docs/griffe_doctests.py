"""Griffe extension: examples in docstrings (``>>>``) become code blocks of the API page, wherever they stand."""

from __future__ import annotations

import re
from typing import Any

import griffe

_DOCTEST = re.compile(r"(?:^[ \t]*>>> .*\n?(?:^(?![ \t]*$).*\n?)*\n?)+", re.MULTILINE)


class FencedDoctests(griffe.Extension):
    """Fences each run of doctest lines that is not in an ``Examples:`` section, which Griffe fences by itself."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of an object before it is parsed."""
        if obj.docstring and ">>> " in obj.docstring.value and not re.search(r"^Examples:", obj.docstring.value, re.M):
            obj.docstring.value = _DOCTEST.sub(_fence, obj.docstring.value)


def _fence(match: re.Match[str]) -> str:
    lines = match[0].rstrip("\n")
    indent = re.match(r"[ \t]*", lines)[0]  # type: ignore[index]  # it matches an empty string, too
    return f"{indent}```pycon\n{lines}\n{indent}```\n\n"
