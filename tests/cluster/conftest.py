"""A Ray cluster of this test session's own, started as a person starts one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

STARTS_WITHIN_S = 300
ENDS_WITHIN_S = 120
NUM_ATTEMPTS = 3
"""On a machine that is very busy, Ray gives up its own start after 30 s."""
BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Head:
    """Of a running cluster.

    Attributes:
        url: Of its job server.
        environment: Of the commands that talk to it.
    """

    url: str
    environment: dict[str, str]

    def ray_job(self, *line: str, cwd: Path = REPOSITORY) -> subprocess.Popen[str]:
        """``ray job …`` of this cluster."""
        command, *rest = line
        return subprocess.Popen(
            [str(BIN / "ray"), "job", command, "--address", self.url, *rest],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            env=self.environment,
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """``ray start --head`` with two CPUs, from an activated environment; sockets need a short path."""
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": str(STARTS_WITHIN_S),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    options = {
        "node-ip-address": "127.0.0.1",
        "port": 0,
        "num-cpus": 2,
        "dashboard-port": port,
        "dashboard-agent-listen-port": 0,
        "ray-client-server-port": free_port(),
    }
    for attempt in range(NUM_ATTEMPTS):
        with _started(options, environment) as (is_up, log):
            if is_up:
                yield Head(f"http://127.0.0.1:{port}", environment)
                return
            assert attempt < NUM_ATTEMPTS - 1, log


@contextlib.contextmanager
def _started(options: dict[str, int | str], environment: dict[str, str]) -> Iterator[tuple[bool, str]]:
    """A head, which is ended with all its processes; whether it came up, and what it printed."""
    with tempfile.TemporaryDirectory(prefix="rcn-", ignore_cleanup_errors=True) as folder:
        line = [f"--{name}={value}" for name, value in {**options, "temp-dir": folder}.items()]
        log = Path(folder) / "start.log"
        with log.open("w") as stream:
            started = subprocess.Popen(
                [str(BIN / "ray"), "start", "--head", "--block", *line],
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + STARTS_WITHIN_S
            while started.poll() is None and "runtime started" not in log.read_text() and time.monotonic() < deadline:
                time.sleep(0.2)
            yield "runtime started" in log.read_text(), log.read_text()
        finally:
            started.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(ENDS_WITHIN_S)
            with contextlib.suppress(ProcessLookupError):  # what is left of it, and only of it
                os.killpg(started.pid, signal.SIGKILL)
