"""A Ray cluster for this test session, started by the command line."""

from __future__ import annotations

import contextlib
import os
import re
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

START_TIMEOUT_S = 300
END_TIMEOUT_S = 120
NUM_ATTEMPTS = 3
"""Ray gives up its own start after 30 s, which a very busy machine may need."""
BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Head:
    """Head node of a running cluster.

    Attributes:
        url: URL of its job server.
        address: What RAY_ADDRESS has to be for it.
        environment: Environment for commands that connect to it.
    """

    url: str
    address: str
    environment: dict[str, str]

    def ray_job(self, *line: str, cwd: Path = REPOSITORY) -> subprocess.Popen[str]:
        """Start ``ray job …`` for this cluster."""
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
    """Run ``ray start --head`` with two CPUs, from an activated environment."""
    environment = activated(RAY_DASHBOARD_STARTUP_TIMEOUT_S=str(START_TIMEOUT_S))
    for attempt in range(NUM_ATTEMPTS):
        options = {
            "node-ip-address": "127.0.0.1",
            "port": 0,
            "num-cpus": 2,
            "dashboard-port": free_port(),
            "dashboard-agent-listen-port": 0,
            "ray-client-server-port": free_port(),
        }
        with started_head(environment, options) as log:
            if url := re.search(r"RAY_API_SERVER_ADDRESS='(http://[^']+)'", log):
                address = re.search(r"--address='([^']+)'", log)
                assert address, log
                yield Head(url[1], address[1], environment)
                return
            assert attempt < NUM_ATTEMPTS - 1, log


def activated(**changes: str) -> dict[str, str]:
    """Environment variables as after activating the virtual environment, without the address of a cluster."""
    return {
        **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # not 15, with which they get no time on a machine whose cores are busy
        **changes,
    }


@contextlib.contextmanager
def started_head(
    environment: dict[str, str], options: dict[str, str | int], *, cwd: Path | None = None
) -> Iterator[str]:
    """Run ``ray start --head`` within the ``with`` block; yields what it printed when it was up or gave up."""
    with tempfile.TemporaryDirectory(prefix="rcn-", ignore_cleanup_errors=True) as folder:  # short: it holds sockets
        line = [f"--{name}={value}" for name, value in {**options, "temp-dir": folder}.items()]
        log = Path(folder) / "start.log"
        with log.open("w") as stream:
            started = subprocess.Popen(
                [str(BIN / "ray"), "start", "--head", "--block", *line],
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=environment,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while started.poll() is None and "--block" not in log.read_text() and time.monotonic() < deadline:
                time.sleep(0.2)
            yield log.read_text()
        finally:
            started.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(END_TIMEOUT_S)
            with contextlib.suppress(ProcessLookupError):  # what is left of it, and only of it
                os.killpg(started.pid, signal.SIGKILL)
