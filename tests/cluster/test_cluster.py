"""A search on several nodes, one of which is killed. Each node is a raylet with its own worker processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ray._private.ray_constants import PROCESS_TYPE_RAYLET
from ray.cluster_utils import Cluster

from rcn_search.study.study import Study

TIMEOUT_S = 600
POLL_S = 0.05
NUM_NODES = 3
NUM_TRIALS = 4
NUM_EPOCHS = 40


@pytest.fixture
def cluster(monkeypatch) -> Iterator[Cluster]:
    """A head and two more nodes, of one CPU each."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    memory = {"object_store_memory": 80 * 2**20}
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **memory})
    try:
        for _ in range(NUM_NODES - 1):
            started.add_node(num_cpus=1, wait=False, **memory)
        started.wait_for_nodes(timeout=TIMEOUT_S)  # or the trials could be over before the last one trains
        yield started
    finally:
        started.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_search_resumes_the_trials_of_a_killed_node(cluster, synthetic_uri, tmp_path):
    study = tmp_path / "study"
    document = {
        "study": {"name": "nodes"},
        "base": {
            "data": {"uri": synthetic_uri},
            "checkpoint": {"every_s": 0},
            "model": {"name": "rcn", "branches": 2, "channels": 8},
            "schedule": {"batch_size": 16},
            "compute": {"precision": "fp32", "channels_last": False},
        },
        "search": {"optimizer.lr": {"float": [1e-3, 1e-2]}},
        "budget": {"trials": NUM_TRIALS, "epochs": NUM_EPOCHS},
        "scheduler": {"name": "none"},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(document))
    with (tmp_path / "log").open("w+") as log:
        line = [sys.executable, "-m", "rcn_search.tune", str(tmp_path / "study.yaml"), "--study", str(study)]
        environment = {**os.environ, "RAY_ADDRESS": cluster.address}
        search = subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            killed, before = kill_node(cluster, search, study, Path(log.name))
            search.wait(timeout=TIMEOUT_S)
        finally:
            search.kill()
        text = Path(log.name).read_text()
    assert search.returncode == 0, text
    assert f"{NUM_NODES} at once" in text
    assert not any(is_alive(pid) for pid in killed)

    done = Study.open(str(study))
    assert [trial.state for trial in done.trials] == ["complete"] * NUM_TRIALS
    assert [list(trial.epochs) for trial in done.trials] == [list(range(1, NUM_EPOCHS + 1))] * NUM_TRIALS
    for trial, saved in before.items():
        after = json.loads((study / "trials" / trial / "history.json").read_text())[: len(saved)]
        assert after == saved, f"trial {trial} was trained again"


def kill_node(
    cluster: Cluster, search: subprocess.Popen[bytes], study: Path, log: Path
) -> tuple[list[int], dict[str, list[object]]]:
    """Kill a node that is not the head while it trains.

    Returns:
        Its trial actors, and the saved epochs of each running trial.
    """
    victim = cluster.list_all_nodes()[-1]
    assert not victim.is_head()
    (raylet,) = (info.process.pid for info in victim.all_processes[PROCESS_TYPE_RAYLET])
    deadline = time.monotonic() + TIMEOUT_S
    while len(running := saved_epochs(study)) < NUM_NODES:
        assert time.monotonic() < deadline, log.read_text()
        assert search.poll() is None, log.read_text()
        time.sleep(POLL_S)
    actors = trial_actors(raylet)
    assert actors, "the node was idle"
    cluster.remove_node(victim, allow_graceful=False)
    assert not any((study / "trials" / trial / "result.json").exists() for trial in running), "too short"
    return actors, running


def saved_epochs(study: Path) -> dict[str, list[object]]:
    """Saved epochs of the running trials that have any."""
    histories = {path.parent.name: path for path in study.glob("trials/*/history.json")}
    return {
        name: json.loads(path.read_text())
        for name, path in histories.items()
        if not (path.parent / "result.json").exists()
    }


def trial_actors(raylet: int) -> list[int]:
    """Process numbers of the trial actors of one node."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == raylet and b"TrialActor" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
