"""JSON of objects that others may have written: bounded in size and depth, and damaged ones named."""

from __future__ import annotations

import json
from typing import Any

from rcn_search.storage.errors import StorageError

MAX_JSON_BYTES = 64 * 2**20
MAX_JSON_VALUES = 2_000_000
"""Bounds the memory of the decoded document, in which ``{}`` takes 64 bytes."""
MAX_JSON_KEYS = 50_000
"""Of one object: validation describes each key that it does not know."""
MAX_JSON_DEPTH = 100
"""Code that walks through a document may call itself for each level."""


def decode_json(uri: str, content: bytes) -> Any:
    """Decode the JSON document that was read from ``uri``.

    Raises:
        StorageError: It is not JSON, or beyond the limits above; the message names it.
    """
    num_brackets = content.count(b"[") + content.count(b"{")
    num_values = num_brackets + content.count(b",") if len(content) > MAX_JSON_KEYS else 0  # few in most objects
    if len(content) > MAX_JSON_BYTES or num_values > MAX_JSON_VALUES:
        raise StorageError(
            f"{uri} is too large: {len(content):,} bytes with up to {num_values:,} values; at most {MAX_JSON_BYTES:,} "
            f"bytes and {MAX_JSON_VALUES:,} values are read"
        )
    try:
        document = json.loads(content)
        if b"\\" in content and (
            b"\\ud" in content or b"\\uD" in content
        ):  # half a surrogate pair cannot be written again
            json.dumps(document, ensure_ascii=False).encode()
    except RecursionError:
        raise _too_deep(uri) from None
    except ValueError as error:  # not JSON, not Unicode, or a number of thousands of digits
        raise StorageError(f"{uri} is not valid JSON: {error}") from error
    if num_brackets > MAX_JSON_DEPTH or num_values > MAX_JSON_KEYS:
        _check_shape(uri, document)
    return document


def encode_json(document: Any) -> bytes:
    """Encode ``document`` as JSON; NaN is refused with a ValueError."""
    return (json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _check_shape(uri: str, document: Any) -> None:
    level = [document] if isinstance(document, dict | list) else []
    for _ in range(MAX_JSON_DEPTH + 1):
        if any(isinstance(each, dict) and len(each) > MAX_JSON_KEYS for each in level):
            raise StorageError(f"{uri} is too large: at most {MAX_JSON_KEYS:,} keys of one object are read")
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise _too_deep(uri)


def _too_deep(uri: str) -> StorageError:
    return StorageError(f"{uri} is nested too deeply: at most {MAX_JSON_DEPTH} levels are read")
