"""Base of every immutable document, and the hash that identifies one."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """Base of configurations and records: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def canonical_hash(document: Any) -> str:
    """Compute the SHA-256 of a JSON document, independent of key order and white space."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
