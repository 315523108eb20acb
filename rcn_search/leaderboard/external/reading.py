"""Read a file of external predictions, in whichever format it is."""

from __future__ import annotations

import json
from typing import Literal

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.keypoints import KeypointSchema
from rcn_search.leaderboard.external.csv_format import parse_csv
from rcn_search.leaderboard.external.faces import ExternalFile
from rcn_search.leaderboard.external.json_formats import parse_json

ExternalFormat = Literal["csv", "spiga", "coco"]

MAX_BYTES = 48_000_000


def read_external(uri: str, schema: KeypointSchema, file_format: ExternalFormat | None = None) -> ExternalFile:
    """Read and parse the file at ``uri``, as `parse_external` does."""
    return parse_external(storage.read_bytes(uri, max_bytes=MAX_BYTES), uri, schema, file_format)


def parse_external(
    content: bytes, uri: str, schema: KeypointSchema, file_format: ExternalFormat | None = None
) -> ExternalFile:
    """Parse the points of another system for the keypoints of ``schema``; by default JSON or CSV, as it looks.

    Text is UTF-8, or UTF-16 or UTF-32 with or without byte order mark.

    Raises:
        RcnSearchError: It is too large, no text, or not of the format; the message names ``uri`` and the items.
    """
    if len(content) > MAX_BYTES:
        raise RcnSearchError(f"{uri} has more than {MAX_BYTES:,} bytes; split it")
    encoding = json.detect_encoding(content)  # by the zeros of the first characters, which are ASCII in CSV, too
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise RcnSearchError(f"{uri} is not text in {encoding}: {error.reason} at byte {error.start}") from None
    try:
        if file_format == "csv" or (file_format is None and text.lstrip()[:1] not in ("[", "{")):
            return parse_csv(text, schema)
        return parse_json(text, schema, file_format)
    except RcnSearchError as error:
        raise RcnSearchError(f"{uri}: {error}") from None
