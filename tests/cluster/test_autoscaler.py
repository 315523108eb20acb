"""A search on a cluster without a node for trials until its autoscaler starts some.

The autoscaler is Ray's own, started as by ``ray up``, with the provider whose nodes are raylets on this machine. Not by
`ray.cluster_utils.AutoscalingCluster`: that begins with ``ray stop --force``, which ends every Ray on the machine, and
reads a file that Ray's wheel lacks.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import yaml

from rcn_search.config.schema import TrainConfig
from rcn_search.study.study import Study
from tests.cluster.conftest import activated, started_head

TIMEOUT_S = 400
NUM_NODES = 2
STORE_BYTES = 80 * 2**20


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Address and environment of a head without CPUs whose autoscaler may start two nodes of one CPU."""
    environment = activated(AUTOSCALER_UPDATE_INTERVAL_S="1", RAY_FAKE_CLUSTER="1")
    ip = ray.util.get_node_ip_address()
    with socket.socket() as probe:
        probe.bind((ip, 0))
        port = probe.getsockname()[1]
    config = {
        "cluster_name": "growing",
        "max_workers": NUM_NODES,
        "idle_timeout_minutes": 5,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": f"{ip}:{port}",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands")},
        **{name: [] for name in ("setup_commands", "head_setup_commands", "worker_setup_commands")},
        **{name: [] for name in ("head_start_ray_commands", "worker_start_ray_commands")},
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "small": {
                "resources": {"CPU": 1, "object_store_memory": STORE_BYTES},
                "node_config": {},
                "min_workers": 0,
                "max_workers": NUM_NODES + 1,
            },
        },
    }
    options = {
        "node-ip-address": ip,
        "port": port,
        "num-cpus": 0,
        "object-store-memory": STORE_BYTES,
        "resources": json.dumps({"NODE_ID_AS_RESOURCE": 0}),
        "include-dashboard": "false",
        "dashboard-agent-listen-port": 0,
        "autoscaling-config": "autoscaling.yaml",
    }
    (tmp_path / "autoscaling.yaml").write_text(yaml.safe_dump(config))
    with started_head(environment, options, cwd=tmp_path) as log:
        assert "--block" in log, log
        yield f"{ip}:{port}", environment


def command(growing: tuple[str, dict[str, str]], *line: str) -> subprocess.CompletedProcess[str]:
    """Run Python with a command line on the cluster."""
    address, environment = growing
    return subprocess.run(
        [sys.executable, *line],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**environment, "RAY_ADDRESS": address},
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_search_with_max_concurrent_on_empty_cluster_starts_nodes(
    growing: tuple[str, dict[str, str]], synthetic_uri: str, tmp_path: Path
) -> None:
    document = {
        "study": {"name": "growing"},
        "base": {
            "data": {"uri": synthetic_uri},
            "checkpoint": {"every_s": 0},
            "model": {"name": "rcn", "branches": 2, "channels": 8},
            "schedule": {"batch_size": 16},
            "compute": {"precision": "fp32", "channels_last": False},
        },
        "search": {"optimizer.lr": {"float": [1e-3, 1e-2]}},
        "budget": {"trials": 4, "epochs": 2},
        "scheduler": {"name": "none"},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(document))
    line = ["-m", "rcn_search.tune", str(tmp_path / "study.yaml"), "--study", str(tmp_path / "study")]

    refused = command(growing, *line)
    assert refused.returncode == 1
    assert (
        "a trial needs 1 CPU and 0 GPU, but no node has that many (0 CPU, 0 GPU); lower budget.cpus_per_trial or "
        "budget.gpus_per_trial; on a cluster that starts nodes on demand, set budget.max_concurrent to a number"
    ) in " ".join(refused.stderr.split())

    ran = command(growing, *line, "--auto-resume", "--set", f"budget.max_concurrent={NUM_NODES}")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{NUM_NODES} at once, 1 CPU, 0 GPU each; on 0 CPU, 0 GPU: 0 fit now" in " ".join(ran.stdout.split())
    done = Study.open(str(tmp_path / "study"))
    assert [(trial.state, list(trial.epochs)) for trial in done.trials] == [("complete", [1, 2])] * 4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_training_on_empty_cluster_starts_a_node_for_each_worker(
    growing: tuple[str, dict[str, str]], tiny_config: TrainConfig, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tiny_config.model_dump(mode="json")))
    line = ["-m", "rcn_search", "train", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "run")]
    line += ["--workers", str(NUM_NODES)]

    refused = command(growing, *line, "--set", "compute.threads=auto")
    assert refused.returncode == 1
    assert "only 0 fit on the cluster (0 CPU, 0 GPU)" in " ".join(refused.stderr.split())

    ran = command(growing, *line, "--set", "compute.threads=1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 workers, 1 CPU, 0 GPU each; on 0 CPU, 0 GPU: 0 fit now, waiting for the cluster" in (
        " ".join(ran.stdout.split())
    )
    history = json.loads((tmp_path / "run/history.json").read_text())
    assert [epoch["epoch"] for epoch in history] == list(range(1, tiny_config.schedule.epochs + 1))
