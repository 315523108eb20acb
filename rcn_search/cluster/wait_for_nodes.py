"""Wait until a Ray cluster that is being started has all its nodes, as `cluster/slurm.sh` does before a search.

python -m rcn_search.cluster.wait_for_nodes 4
"""

from __future__ import annotations

import os
import socket
import sys
import time

from rcn_search.cluster.runtime import connect_cluster, current_resources
from rcn_search.errors import RcnSearchError

WAIT_S = 300.0
_POLL_S = 0.5


def wait_for_nodes(num_nodes: int, *, wait_s: float = WAIT_S) -> None:
    """Wait for the nodes of the cluster at ``RAY_ADDRESS``, a ``host:port``, whose head may not have started yet.

    Raises:
        RcnSearchError: There is no such address, or fewer nodes have joined after ``wait_s`` seconds.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise RcnSearchError(f"RAY_ADDRESS is {address!r}; set it to HOST:PORT of the head node")
    deadline = time.monotonic() + wait_s
    # Ray itself would wait for a head node that is not there without a limit.
    while not _listens(host, int(port)):
        if time.monotonic() > deadline:
            raise RcnSearchError(f"no Ray at {address} after {wait_s:g} s: see the output of ray start on {host}")
        time.sleep(_POLL_S)
    with connect_cluster():
        while (num_alive := len(current_resources().nodes)) < num_nodes:
            if time.monotonic() > deadline:
                raise RcnSearchError(f"{num_alive} of {num_nodes} nodes have joined {address} after {wait_s:g} s")
            time.sleep(_POLL_S)


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=5):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    try:
        wait_for_nodes(int(sys.argv[1]))
    except RcnSearchError as error:
        sys.exit(f"error: {error}")
