"""Addresses of clusters that do not answer, and Ray that does not start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from rcn_search.cluster import cluster_address
from rcn_search.cluster.cluster_address import ClusterError, require_cluster
from rcn_search.cluster.runtime import connect_cluster
from rcn_search.study.study import Study
from tests.support.doctor import unused_port
from tests.support.searches import write_tiny_study


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port at which something listens that never answers, as a head that was stopped."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_require_cluster_that_never_answers_is_refused_in_time(
    silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_address, "ANSWER_TIMEOUT_S", 0.3)
    for port in (silent_port, unused_port()):
        started = time.monotonic()
        with pytest.raises(ClusterError, match=f"no Ray cluster answers at RAY_ADDRESS=127.0.0.1:{port}, within 0 s"):
            require_cluster(f"127.0.0.1:{port}")
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://head:8265", "RAY_ADDRESS=http://head:8265 is the address of a job server"),
        ("10.0.0.7", "RAY_ADDRESS=10.0.0.7: not an address: give HOST:6379"),
        ("ray://head", "not an address"),
        ("head:ray", "not an address"),
    ],
)
def test_require_cluster_at_another_kind_of_address_is_refused(address: str, message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        require_cluster(address)


@pytest.mark.usefixtures("ray_cluster")
def test_require_cluster_that_runs_answers() -> None:
    require_cluster(ray.get_runtime_context().gcs_address)


@pytest.mark.parametrize(
    ("address", "reason", "message"),
    [
        ("local", "Failed to start GCS", "Ray could not start on this machine: Failed to start GCS; try again"),
        ("", "AF_UNIX path length cannot exceed 107 bytes: /x", "set TMPDIR to a short one, as in TMPDIR=/tmp"),
        (
            "head:6379",
            "Version mismatch\n\n: 2.9",
            "join the cluster at RAY_ADDRESS=head:6379: Version mismatch : 2.9;",
        ),
    ],
    ids=["start", "socket", "join"],
)
def test_connect_cluster_that_fails_is_one_line(
    monkeypatch: pytest.MonkeyPatch, address: str, reason: str, message: str
) -> None:
    def fail(**options: object) -> None:
        raise RuntimeError(reason)

    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # whatever other tests have started
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr("rcn_search.cluster.runtime.require_cluster", lambda address: None)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ClusterError, match=message) as raised, connect_cluster():
        pass
    assert "\n" not in str(raised.value)


def start_tune(study_file: str, study: Path, **environment: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "rcn_search.tune", study_file, "--study", str(study)]
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.Popen(
        line, env=inherited | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_tune_that_waits_for_a_cluster_obeys_sigterm(synthetic_uri: str, tmp_path: Path, silent_port: int) -> None:
    study = tmp_path / "study"
    address = f"127.0.0.1:{silent_port}"
    with start_tune(write_tiny_study(tmp_path, synthetic_uri), study, RAY_ADDRESS=address) as search:
        while not (study / "leases").exists() and search.poll() is None:
            time.sleep(0.05)
        time.sleep(1)
        search.send_signal(signal.SIGTERM)
        started = time.monotonic()
        _, message = search.communicate(timeout=60)
    assert time.monotonic() - started < 10
    assert (search.returncode, message) == (130, f"stopped; the same command with --resume resumes {study}\n")


@pytest.mark.slow
def test_tune_whose_gcs_dies_at_its_start_is_one_line_and_resumable(synthetic_uri: str, tmp_path: Path) -> None:
    study = tmp_path / "study"
    with start_tune(write_tiny_study(tmp_path, synthetic_uri), study) as search:
        parent = psutil.Process(search.pid)
        while search.poll() is None:
            for child in parent.children(recursive=True):
                if "gcs_server" in child.name():
                    child.kill()
            time.sleep(0.02)
        _, message = search.communicate()
    assert search.returncode == 1
    assert message.startswith("error: Ray could not start on this machine: ")
    assert message.endswith(f"Then the same command with --resume resumes {study}\n")
    assert message.count("\n") == 1
    assert Study.open(str(study)).num_remaining == 4
