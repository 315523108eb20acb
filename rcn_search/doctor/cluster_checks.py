"""The Ray cluster that a search would use: whether it can be reached, and whether its nodes are alike."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rcn_search
from rcn_search.cluster.credentials import Credentials
from rcn_search.doctor.check_result import Finding, ok, problem
from rcn_search.doctor.gpu_checks import examine_gpus
from rcn_search.doctor.machine_checks import examine_machine
from rcn_search.doctor.storage_checks import examine_places, judge_skew

ANSWERS_WITHIN_S = 5
REACHES_WITHIN_S = 300
"""The data and the study: storage tries for long before it gives up."""
STARTS_WITHIN_S = 120
"""A process on a busy node, torch and all."""


@dataclass(frozen=True)
class NodeReport:
    """What a node says of itself.

    Attributes:
        versions: Of what must be the same on all nodes.
        findings: Of its machine.
    """

    versions: dict[str, str]
    findings: list[Finding]


def examine_cluster(address: str, data: str, study: str) -> Iterator[Finding]:
    """All that is to be said of the cluster at ``host:port``, or, of ``auto``, of that of this machine.

    Args:
        address: Of its head.
        data: Data set that its nodes are to reach; not looked at if empty.
        study: URI that they are to write to; not looked at if empty.
    """
    if address != "auto" and (unreachable := check_port(address)):
        yield unreachable
        return
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        yield problem(
            "cluster",
            f"{address}: {error}",
            "start one with ray start --head, and run this on one of its machines or as a job (ray job submit -- "
            "rcn-search doctor); where it has a token, set RAY_AUTH_MODE=token here too",
        )
        return
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        yield ok("cluster", f"{len(nodes)} nodes: {'; '.join(map(describe_node, nodes))}")
        own = own_versions()
        for node in nodes:
            yield from _examine_node(node, own, data, study)
    finally:
        ray.shutdown()


def check_port(address: str) -> Finding | None:
    """A problem if nobody listens there; Ray itself would try for long."""
    if address.startswith("http"):
        return problem(
            "cluster",
            f"{address} is the address of a job server",
            "name it in RAY_API_SERVER_ADDRESS, for ray job; the cluster's own is HOST:6379",
        )
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return problem("cluster", f"{address} is no address", "give HOST:6379, as ray start --head printed it, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_WITHIN_S).close()
    except OSError as error:
        return problem(
            "cluster",
            f"{address}: {error}",
            "is the head running, and does a firewall keep its port from this machine?",
        )
    return None


def describe_node(node: Mapping[str, Any]) -> str:
    """For example ``10.0.0.7 with 16 CPU, 2 GPU``."""
    resources = node["Resources"]
    return f"{node['NodeManagerAddress']} with {resources.get('CPU', 0):g} CPU, {resources.get('GPU', 0):g} GPU"


def own_versions() -> dict[str, str]:
    """Of what must be the same on all nodes: a trial is sent from one to the other and back."""
    import ray
    import torch

    return {
        "Python": platform.python_version(),
        "Ray": ray.__version__,
        "torch": torch.__version__,
        "rcn_search": f"{rcn_search.__version__} ({source_hash(Path(rcn_search.__file__).parent)})",
    }


def source_hash(package: Path) -> str:
    """Eight letters that change with any line of a package's code: a forgotten update keeps its version."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:8]


def check_versions(topic: str, own: Mapping[str, str], theirs: Mapping[str, str]) -> Finding:
    """Whether a node has what this machine has."""
    other = [
        f"{name} {theirs.get(name)} there, {version} here"
        for name, version in own.items()
        if theirs.get(name) != version
    ]
    if other:
        return problem(
            topic, "; ".join(other), "install the same on all nodes: pip install --constraint constraints.txt"
        )
    return ok(topic, ", ".join(f"{name} {version}" for name, version in own.items()))


def report() -> NodeReport:
    """What the machine that runs this says of itself."""
    return NodeReport(own_versions(), [*examine_machine(), examine_gpus()])


def _examine_node(node: Mapping[str, Any], own: Mapping[str, str], data: str, study: str) -> Iterator[Finding]:
    """What a node says, through a process of its own there, which needs none of its resources."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    name = node["NodeManagerAddress"]
    there = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
    examiner = ray.remote(num_cpus=0, scheduling_strategy=there)(_Examiner).remote()
    try:
        told: NodeReport = ray.get(examiner.report.remote(), timeout=STARTS_WITHIN_S)
        asked = time.time()
        theirs = ray.get(examiner.now.remote(), timeout=ANSWERS_WITHIN_S)
        answered = time.time()
        access = Credentials.from_environment(data, study)
        try:
            reached = ray.get(examiner.places.remote(access, data, study), timeout=REACHES_WITHIN_S)
        except ray.exceptions.GetTimeoutError:
            found = f"data and study were not reached within {REACHES_WITHIN_S} s"
            reached = [problem("data", found, "look at its network, and at AWS_ENDPOINT_URL")]
    except ray.exceptions.GetTimeoutError:
        yield problem(name, f"did not answer within {STARTS_WITHIN_S} s", "look at its load and at ray status")
        return
    except (ray.exceptions.RayError, ImportError) as error:
        yield problem(
            name, f"cannot run rcn_search: {_last_line(error)}", "install it there as here, and start Ray from it"
        )
        return
    finally:
        ray.kill(examiner)
    yield check_versions(f"{name}, versions", own, told.versions)
    yield judge_skew(f"{name}, clock", max(asked - theirs, theirs - answered, 0.0), "that of this machine")
    for finding in (*told.findings, *reached):
        yield Finding(finding.state, f"{name}, {finding.topic}", finding.found, finding.remedy)


class _Examiner:
    def report(self) -> NodeReport:
        return report()

    def places(self, access: Credentials, data: str, study: str) -> list[Finding]:
        access.apply_to_environment()
        return list(examine_places(data, study))

    def now(self) -> float:
        return time.time()


def _last_line(error: BaseException) -> str:
    return str(error).strip().rpartition("\n")[2]


def cluster_of(address: str) -> str:
    """Where a search would go: the address that is given, else RAY_ADDRESS; empty if it starts Ray for itself."""
    return address or os.environ.get("RAY_ADDRESS", "")
