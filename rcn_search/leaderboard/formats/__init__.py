"""Read predictions of other systems: from their files to points by image name.

Shape letters: k points.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.leaderboard.formats import coco, csv, spiga
from rcn_search.leaderboard.formats.base import ExternalPredictions

ExternalFormat = Literal["csv", "spiga", "coco"]
MAX_BYTES = 1_000_000_000


def read_external(uri: str, file_format: ExternalFormat | None = None) -> ExternalPredictions:
    """Read the predicted points of another system.

    Args:
        uri: URI of the file.
        file_format: Format of the file; by default CSV if the name ends in ``.csv``, else detected from the JSON.

    Raises:
        FileNotFoundError: There is no such file.
        RcnSearchError: It is not of that format; the message names the file and the item.
    """
    content = storage.read_bytes(uri)
    if len(content) > MAX_BYTES:
        raise RcnSearchError(f"{uri} has {len(content):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        if file_format == "csv" or (file_format is None and uri.lower().endswith(".csv")):
            return csv.parse(content.decode("utf-8-sig"))
        document = json.loads(content)
        return _json_parser(document, file_format)(document)
    except RecursionError:
        raise RcnSearchError(f"{uri}: too deeply nested") from None
    except ValueError as error:
        raise RcnSearchError(f"{uri}: {error}") from error


def _json_parser(document: Any, file_format: ExternalFormat | None) -> Callable[[Any], ExternalPredictions]:
    if file_format == "spiga":
        return spiga.parse
    if file_format == "coco":
        return coco.parse
    if isinstance(document, list) and document and isinstance(document[0], dict) and "landmarks" in document[0]:
        return spiga.parse
    return coco.parse
