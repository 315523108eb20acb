"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: ``problem``: a search will fail; ``warning``: it may, or will be slower than it need be.
        topic: What was looked at.
        found: What was seen there.
        remedy: What to do; empty where all is well.
    """

    state: State
    topic: str
    found: str
    remedy: str = ""


def ok(topic: str, found: str) -> Finding:
    """All is well."""
    return Finding("ok", topic, found)


def warning(topic: str, found: str, remedy: str) -> Finding:
    """It will do, not well."""
    return Finding("warning", topic, found, remedy)


def problem(topic: str, found: str, remedy: str) -> Finding:
    """It will not do."""
    return Finding("problem", topic, found, remedy)
