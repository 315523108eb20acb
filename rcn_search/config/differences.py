"""Comparison of two JSON documents, for messages about a configuration that is not the expected one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_ABSENT = "—"


def differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """Compare two documents: yield ``key: before → now`` for each key that differs.

    >>> list(differences({"study": {"seed": 0}}, {"study": {"seed": 1}}))
    ['study.seed: 0 → 1']
    """
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from differences(before.get(key, _ABSENT), now.get(key, _ABSENT), f"{path}.{key}" if path else key)
    elif before != now:
        yield f"{path}: {_in_one_line(before)} → {_in_one_line(now)}"


def _in_one_line(value: Any) -> str:
    """Write a value in YAML's flow style, without what is not set."""
    if isinstance(value, dict):
        pairs = (f"{key}: {_in_one_line(item)}" for key, item in value.items() if item not in (None, False, {}, []))
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_in_one_line, value)) + "]" if len(value) != 1 else _in_one_line(value[0])
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
