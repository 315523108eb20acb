"""Checks of a node of a Ray cluster, by an actor there: versions, machine, clock, and access to data and study."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rcn_search
from rcn_search.cluster.credentials import Credentials
from rcn_search.doctor.check_result import CheckResult, ok, problem
from rcn_search.doctor.gpu_checks import check_gpus
from rcn_search.doctor.machine_checks import check_machine
from rcn_search.doctor.storage_checks import check_clock_skew, check_storage

START_TIMEOUT_S = 120
"""For a process on a busy node, which imports torch."""
CLOCK_TIMEOUT_S = 5
STORAGE_TIMEOUT_S = 300
"""For access to data and study: storage retries for minutes before it gives up."""


@dataclass(frozen=True)
class NodeReport:
    """Versions by name, which must be the same on all nodes, and results of the checks of a node's machine."""

    versions: dict[str, str]
    results: list[CheckResult]


class _NodeProbe:
    """Actor that runs the checks on a node."""

    def report(self) -> NodeReport:
        return NodeReport(installed_versions(), [*check_machine(), check_gpus()])

    def check_storage(self, credentials: Credentials, data: str, study: str) -> list[CheckResult]:
        credentials.apply_to_environment()
        return list(check_storage(data, study))

    def time(self) -> float:
        return time.time()


def check_node(node: Mapping[str, Any], versions: Mapping[str, str], data: str, study: str) -> Iterator[CheckResult]:
    """Check a node, as `ray.nodes` describes it, through an actor that takes none of its resources.

    Its versions must be the given ones; it must be able to read the data set and to write the study, if not empty.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    name = node["NodeManagerAddress"]
    on_node = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
    probe = ray.remote(num_cpus=0, scheduling_strategy=on_node)(_NodeProbe).remote()
    try:
        report: NodeReport = ray.get(probe.report.remote(), timeout=START_TIMEOUT_S)
        before_s = time.time()
        node_s = ray.get(probe.time.remote(), timeout=CLOCK_TIMEOUT_S)
        after_s = time.time()
        storage = _check_storage(probe, data, study)
    except ray.exceptions.GetTimeoutError:
        yield problem(name, f"did not answer within {START_TIMEOUT_S} s", "check its load, and ray status")
        return
    except (ray.exceptions.RayError, ImportError) as error:
        message = f"cannot run rcn_search: {str(error).strip().rpartition(chr(10))[2]}"
        yield problem(name, message, "install the same packages there as here, and start Ray from that environment")
        return
    finally:
        ray.kill(probe)
    yield check_versions(f"{name}, versions", versions, report.versions)
    yield check_clock_skew(f"{name}, clock", max(before_s - node_s, node_s - after_s, 0.0), "that of this machine")
    for result in (*report.results, *storage):
        yield replace(result, topic=f"{name}, {result.topic}")


def _check_storage(probe: Any, data: str, study: str) -> list[CheckResult]:
    import ray

    call = probe.check_storage.remote(Credentials.from_environment(data, study), data, study)
    try:
        results: list[CheckResult] = ray.get(call, timeout=STORAGE_TIMEOUT_S)
    except ray.exceptions.GetTimeoutError:
        message = f"data and study could not be reached within {STORAGE_TIMEOUT_S} s"
        return [problem("data", message, "check its network and AWS_ENDPOINT_URL")]
    return results


def describe_node(node: Mapping[str, Any]) -> str:
    """For example ``10.0.0.7 with 16 CPU, 2 GPU``."""
    resources = node["Resources"]
    return f"{node['NodeManagerAddress']} with {resources.get('CPU', 0):g} CPU, {resources.get('GPU', 0):g} GPU"


def installed_versions() -> dict[str, str]:
    """Versions of what must be the same on all nodes, because trials are sent from one to another."""
    import ray
    import torch

    return {
        "Python": platform.python_version(),
        "Ray": ray.__version__,
        "torch": torch.__version__,
        "rcn_search": f"{rcn_search.__version__} ({source_hash(Path(rcn_search.__file__).parent)})",
    }


def source_hash(package: Path) -> str:
    """Hash of a package's code, eight letters: a forgotten update has the same version but another hash."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:8]


def check_versions(topic: str, here: Mapping[str, str], there: Mapping[str, str]) -> CheckResult:
    """Compare the versions of a node with those of this machine."""
    different = [name for name in here if there.get(name) != here[name]]
    if not different:
        return ok(topic, ", ".join(f"{name} {version}" for name, version in here.items()))
    message = "; ".join(f"{name} {there.get(name)} there, {here[name]} here" for name in different)
    return problem(topic, message, "install the same on all nodes: pip install --constraint constraints.txt")
