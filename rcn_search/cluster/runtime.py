"""The Ray that a search or a training with several workers runs on, and what there is room for."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import ray

from rcn_search.cluster.autoscaler import Growth, find_growth


class Nodes(list[dict[str, float]]):
    """Resources of each node that is there, and what the cluster may grow to.

    Attributes:
        growth: None where nothing says that it may.
    """

    def __init__(self, nodes: Iterable[dict[str, float]], growth: Growth | None = None) -> None:
        super().__init__(nodes)
        self.growth = growth

    def __str__(self) -> str:
        there = " + ".join(f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in self)
        return f"{there} now, up to {self.growth}" if self.growth else there


# The ledger is the state of a search, so Tune keeps none: no snapshots, no log files for each trial. And Ctrl-C ends
# the loop at once, as each trial saved its last epoch; Tune's own handler would wait for the epochs that are running.
# Ray Train notices the end or the death of a worker when it looks: by itself every two seconds. And it waits for places
# for its workers for as long as a cloud may take to start a node: by itself one minute. A process that is there before
# the store that it connects to, which is so at every other start, tries again after a tenth of a second, for as long as
# by itself, where it would wait for a whole one.
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
def cluster() -> Iterator[Nodes]:
    """The nodes of the cluster: of RAY_ADDRESS, else of this process, else a local one for this call."""
    os.environ.update(_ENVIRONMENT)
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ours = not ray.is_initialized()
    with _own_handlers():
        if ours and os.environ.get("RAY_ADDRESS"):
            ray.init(log_to_driver=False, logging_level="ERROR")
        elif ours:
            # A cluster for one process needs no token. The dashboard is left out for the 3 s it takes: what needs it
            # are Ray Train's own workers within a trial of Tune, in whose place trials have a `Crew`.
            os.environ.setdefault("RAY_AUTH_MODE", "disabled")
            ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        alive = (dict(node["Resources"]) for node in ray.nodes() if node["Alive"])
        yield Nodes(alive, find_growth())
    finally:
        if ours:
            ray.shutdown()


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Ray puts handlers of its own, of which that for SIGTERM aborts. Signals are the main thread's alone."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            signal.signal(number, handler)


def room(nodes: Iterable[Mapping[str, float]], *, cpus: float, gpus: float) -> int:
    """How many processes of that size there is room for; each lives on one node."""
    needs = {"CPU": cpus, "GPU": gpus}
    return sum(
        min(math.floor(node.get(kind, 0) / need + 1e-9) for kind, need in needs.items() if need) for node in nodes
    )


def room_at_most(nodes: Nodes, *, cpus: float, gpus: float) -> int:
    """The same, when the cluster has grown as far as it may."""
    growth, now = nodes.growth, room(nodes, cpus=cpus, gpus=gpus)
    if growth is None:
        return now
    grown = growth.largest(lambda node: room([node], cpus=cpus, gpus=gpus))
    capped = room([{"CPU": sys.maxsize, "GPU": sys.maxsize, **growth.caps}], cpus=cpus, gpus=gpus)
    return max(now, min(grown, capped))
