"""Helper for tests of doctor's checks."""

from __future__ import annotations

import socket

from rcn_search.doctor.check_result import CheckResult


def state_of(result: CheckResult) -> str:
    """The state of a result, which has a remedy exactly if it is not ok."""
    assert bool(result.remedy) == (result.state != "ok")
    return result.state


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
