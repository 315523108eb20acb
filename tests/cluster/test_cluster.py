"""A search on several nodes, of which one is killed. Each node is a raylet of its own, with its own workers."""

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

PATIENCE_S = 600
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
        started.wait_for_nodes(timeout=PATIENCE_S)  # or the trials could be over before the last one trains
        yield started
    finally:
        started.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_search_outlives_one_of_its_nodes(cluster, synthetic_uri, tmp_path):
    study = tmp_path / "study"
    document = {
        "study": {"name": "nodes"},
        "base": {
            "data": {"uri": synthetic_uri},
            "model": {"name": "rcn", "branches": 2, "channels": 8},
            "schedule": {"batch_size": 16},
            "compute": {"precision": "fp32", "channels_last": False},
        },
        "search": {"optimizer.lr": {"float": [1e-3, 1e-2]}},
        "budget": {"trials": NUM_TRIALS, "epochs": NUM_EPOCHS},
        "scheduler": {"name": "none"},
    }
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(document))
    with (tmp_path / "log").open("w+") as log:
        line = [sys.executable, "-m", "rcn_search.tune", str(tmp_path / "space.yaml"), "--study", str(study)]
        environment = {**os.environ, "RAY_ADDRESS": cluster.address}
        driver = subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            lost, before = lose_a_node(cluster, driver, study, Path(log.name))
            driver.wait(timeout=PATIENCE_S)
        finally:
            driver.kill()
        text = Path(log.name).read_text()
    assert driver.returncode == 0, text
    assert f"{NUM_NODES} at once" in text
    assert not any(is_alive(pid) for pid in lost)

    done = Study.open(str(study))
    assert [trial.state for trial in done.trials] == ["complete"] * NUM_TRIALS
    assert [list(trial.epochs) for trial in done.trials] == [list(range(1, NUM_EPOCHS + 1))] * NUM_TRIALS
    for trial, saved in before.items():
        kept = json.loads((study / "trials" / trial / "history.json").read_text())[: len(saved)]
        assert kept == saved, f"trial {trial} was trained again"


def lose_a_node(
    cluster: Cluster, driver: subprocess.Popen[bytes], study: Path, log: Path
) -> tuple[list[int], dict[str, list[object]]]:
    """Kill a node that is not the head while it trains; its trial actors, and what each running trial had saved."""
    victim = cluster.list_all_nodes()[-1]
    assert not victim.is_head()
    (raylet,) = (info.process.pid for info in victim.all_processes[PROCESS_TYPE_RAYLET])
    deadline = time.monotonic() + PATIENCE_S
    while len(running := saved_by_running(study)) < NUM_NODES:
        assert time.monotonic() < deadline, log.read_text()
        assert driver.poll() is None, log.read_text()
        time.sleep(POLL_S)
    actors = trial_actors(raylet)
    assert actors, "the node was idle"
    cluster.remove_node(victim, allow_graceful=False)
    assert not any((study / "trials" / trial / "result.json").exists() for trial in running), "too short"
    return actors, running


def saved_by_running(study: Path) -> dict[str, list[object]]:
    """Epochs that the trials at work have behind them, of those with any."""
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
