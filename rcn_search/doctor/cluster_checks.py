"""Check of the Ray cluster that a search would use: whether it can be reached, then each of its nodes."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from rcn_search.doctor.check_result import CheckResult, ok, problem
from rcn_search.doctor.node_checks import check_node, describe_node, installed_versions

CONNECT_TIMEOUT_S = 5


def check_cluster(address: str, data: str, study: str) -> Iterator[CheckResult]:
    """Connect to a cluster at ``HOST:PORT``, or ``auto`` for that of this machine, and check its nodes.

    They must be able to read the data set and to write the study; an empty URI is skipped.
    """
    if address != "auto" and (unreachable := check_port(address)):
        yield unreachable
        return
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:  # Ray raises all of them for a cluster it cannot join
        remedy = (
            "start one with ray start --head, and run this on one of its machines or as a job (ray job submit -- "
            "rcn-search doctor); if it uses a token, set RAY_AUTH_MODE=token here too"
        )
        yield problem("cluster", f"{address}: {error}", remedy)
        return
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        yield ok("cluster", f"{len(nodes)} nodes: {'; '.join(map(describe_node, nodes))}")
        versions = installed_versions()
        for node in nodes:
            yield from check_node(node, versions, data, study)
    finally:
        ray.shutdown()


def check_port(address: str) -> CheckResult | None:
    """Check that something listens at the address, for which Ray itself would try for a long time; None if so."""
    if address.startswith("http"):
        remedy = "set it as RAY_API_SERVER_ADDRESS, for ray job; the address of the cluster is HOST:6379"
        return problem("cluster", f"{address} is the address of a job server", remedy)
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        message = f"{address} is not an address"
        return problem("cluster", message, "give HOST:6379, as printed by ray start --head, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        remedy = "check that the head is running and that no firewall blocks its port"
        return problem("cluster", f"{address}: {error}", remedy)
    return None
