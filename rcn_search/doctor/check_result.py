"""The result of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class CheckResult:
    """What one check found about a topic, and the remedy, which is empty if the state is ``ok``."""

    state: State
    topic: str
    message: str
    remedy: str = ""


def ok(topic: str, message: str) -> CheckResult:
    """Result of a check that passed."""
    return CheckResult("ok", topic, message)


def warning(topic: str, message: str, remedy: str) -> CheckResult:
    """Result of a check after which a search may fail or will be slower than necessary."""
    return CheckResult("warning", topic, message, remedy)


def problem(topic: str, message: str, remedy: str) -> CheckResult:
    """Result of a check after which a search will fail."""
    return CheckResult("problem", topic, message, remedy)
