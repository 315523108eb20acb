"""The result of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Attributes:
        state: ``problem`` if a search will fail, ``warning`` if it may fail or will be slower than necessary.
        topic: Name of what was checked.
        message: What was found.
        remedy: What to do; empty if the state is ``ok``.
    """

    state: State
    topic: str
    message: str
    remedy: str = ""


def ok(topic: str, message: str) -> CheckResult:
    """Result of a check that passed."""
    return CheckResult("ok", topic, message)


def warning(topic: str, message: str, remedy: str) -> CheckResult:
    """Result of a check that found something that may go wrong."""
    return CheckResult("warning", topic, message, remedy)


def problem(topic: str, message: str, remedy: str) -> CheckResult:
    """Result of a check that found something that will go wrong."""
    return CheckResult("problem", topic, message, remedy)
