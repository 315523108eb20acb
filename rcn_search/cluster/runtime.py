"""The Ray cluster of a search or a training with several workers: its CPUs and GPUs."""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from rcn_search.cluster.cluster_address import ClusterError, require_cluster
from rcn_search.cluster.ray_job import is_ray_job
from rcn_search.cluster.stop_signal import signal_handlers_restored
from rcn_search.errors import RcnSearchError


class CapacityError(RcnSearchError):
    """The cluster is too small for a trial or for the workers of a training."""


@dataclass(frozen=True)
class ClusterResources:
    """Resources of each node of a Ray cluster as it is now, by Ray's names: ``CPU``, ``GPU`` and others."""

    nodes: tuple[Mapping[str, float], ...]
    is_fixed: bool = False  # whether it cannot grow: this process started it for one call (for others, Ray cannot tell)

    def capacity(self, *, cpus: float, gpus: float) -> int:
        """Number of processes of that size that fit on the nodes; a process cannot span two nodes."""
        needs = {"CPU": cpus, "GPU": gpus}
        return sum(
            min(math.floor(node.get(kind, 0) / need + 1e-9) for kind, need in needs.items() if need)
            for node in self.nodes
        )

    def __str__(self) -> str:
        """For example ``16 CPU, 2 GPU + 8 CPU, 0 GPU``."""
        return " + ".join(f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in self.nodes)


# The study store holds the state of a search, so Tune keeps none: no snapshots, no log files of trials. Ctrl-C ends the
# loop at once, as each trial saved its last epoch; Tune's own handler would wait for the epochs in progress. Ray Train
# checks its workers every 0.2 s (default 2 s), and waits 15 minutes for them to start (default 1 minute), as long as a
# cloud may take to start a node. At every other start a process is faster than the raylet that it connects to: it tries
# again after 0.1 s (default 1 s), for the default time in all.
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "900",
    "RAY_raylet_client_connect_timeout_milliseconds": "100",
    "RAY_raylet_client_num_connect_attempts": "100",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}


@contextmanager
def connect_cluster(py_modules: Sequence[str] = ()) -> Iterator[ClusterResources]:
    """Connect to the cluster of RAY_ADDRESS, or of this process, or else to a local one that lives for this call.

    ``py_modules`` are files and folders of Python modules, which the cluster of RAY_ADDRESS is sent for its processes.
    A Ray job has sent them already, in its working directory.

    Raises:
        ClusterError: It cannot be reached, or not be started.
    """
    os.environ.update(_ENVIRONMENT)
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    connects = not ray.is_initialized()
    is_local = connects and os.environ.get("RAY_ADDRESS", "") in ("", "local")
    with signal_handlers_restored():
        if connects:
            _init(is_local=is_local, py_modules=py_modules)
    try:
        yield current_resources(is_fixed=is_local)
    finally:
        if connects:
            ray.shutdown()


def _init(*, is_local: bool, py_modules: Sequence[str]) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if is_local:
        # A cluster for one process needs no token. The dashboard is left out for the 3 s it takes: only Ray Train's
        # workers nested in a trial of Tune need it, and trials have a `WorkerGroup` instead.
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        options |= {"address": "local", "include_dashboard": False}
    else:
        require_cluster(os.environ["RAY_ADDRESS"])
        if py_modules and not is_ray_job():
            options["runtime_env"] = {"py_modules": list(py_modules)}
    try:
        ray.init(**options)
    except Exception as error:  # whatever Ray raises here, its options are always the same: it is the environment
        ray.shutdown()
        raise ClusterError(_explain_start(error, is_local=is_local)) from error


def _explain_start(error: Exception, *, is_local: bool) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    if "AF_UNIX path length" in reason:
        return (
            f"the folder of temporary files, {tempfile.gettempdir()}, has too long a name for Ray's sockets in "
            "it: set TMPDIR to a short one, as in TMPDIR=/tmp"
        )
    if is_local:
        return f"Ray could not start on this machine: {reason}; try again, and if that fails run rcn-search doctor"
    return f"Ray could not join the cluster at RAY_ADDRESS={os.environ['RAY_ADDRESS']}: {reason}; see rcn-search doctor"


def current_resources(*, is_fixed: bool = False) -> ClusterResources:
    """Resources of the nodes that are alive in the cluster of this process."""
    return ClusterResources(tuple(dict(node["Resources"]) for node in ray.nodes() if node["Alive"]), is_fixed)
