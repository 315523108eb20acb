"""Base of every immutable document, and the hash that identifies one."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

_STRICT_TYPES = {"int", "float", "bool", "str"}
_LEFT_AS_THEY_ARE = {"default", "metadata", "serialization", "keys_schema"}
"""Parts of a schema that hold no schemas of values, and those of keys, which JSON has as text alone."""


def _make_scalars_strict(schema: Any) -> None:
    if isinstance(schema, dict):
        if schema.get("type") in _STRICT_TYPES:
            schema["strict"] = True
        for key, part in schema.items():
            if key not in _LEFT_AS_THEY_ARE:
                _make_scalars_strict(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            _make_scalars_strict(part)


class FrozenModel(BaseModel):
    """Base of configurations and records: immutable, all numbers finite, and an unknown key is an error.

    Numbers, booleans and text are never read as each other, at any depth: ``true`` and ``"1"`` are no numbers. Lists
    are read as tuples, as JSON and YAML have no others, and whole numbers as real ones.
    """

    # Errors do not repeat the input, in which a URI may hold a password; `rcn_search.config.errors` shows what is safe.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Make the scalars of all fields strict. Pydantic's own strict mode refuses lists for tuples."""
        schema = handler(source)
        _make_scalars_strict(schema)
        return schema


def canonical_hash(document: Any) -> str:
    """Compute the SHA-256 of a JSON document, independent of key order and white space."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
