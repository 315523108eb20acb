"""Predictions of other systems: from their files to points by image, to be scored by the same code as ours.

Shape letters: k points.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

from rcn_search import storage
from rcn_search.leaderboard.formats import coco, spiga
from rcn_search.leaderboard.formats import csv as table
from rcn_search.leaderboard.formats.base import ExternalPredictions

ExternalFormat = Literal["csv", "spiga", "coco"]
MAX_BYTES = 1_000_000_000


def read_external(uri: str, file_format: ExternalFormat | None = None) -> ExternalPredictions:
    """The points that a file of another system holds.

    Args:
        uri: Of the file.
        kind: Its format; by default a table where the name ends in ``.csv``, else what the JSON looks like.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is not of that format; the message names the file and the item.
    """
    content = storage.read_bytes(uri)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{uri} has {len(content):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        if file_format == "csv" or (file_format is None and uri.lower().endswith(".csv")):
            return table.parse(content.decode("utf-8-sig"))
        document = json.loads(content)
        return _reader(document, file_format)(document)
    except RecursionError:
        raise ValueError(f"{uri}: too deeply nested") from None
    except ValueError as error:
        raise ValueError(f"{uri}: {error}") from error


def _reader(document: Any, kind: ExternalFormat | None) -> Callable[[Any], ExternalPredictions]:
    if kind == "spiga":
        return spiga.parse
    if kind == "coco":
        return coco.parse
    if isinstance(document, list) and document and isinstance(document[0], dict) and "landmarks" in document[0]:
        return spiga.parse
    return coco.parse
