"""What an autoscaler may make of a cluster, as the autoscaler itself was told.

Ray keeps a place for it, the cluster configuration in its GCS, which its libraries read. But the autoscalers of open
Ray, up to 2.60 at least, leave it empty (https://github.com/ray-project/ray/pull/63012). Where it is, what they read
is read: the file with which the autoscaler of ``ray up`` was started, or the RayCluster on Kubernetes. Both are to be
had on the head node only, where the driver of a job is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import yaml
from ray._private.state import state

_HEAD = "node:__internal_head__"
"""A resource of the head node alone."""
_MONITORS = ("autoscaler/_private/monitor.py", "autoscaler/v2/monitor.py")
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_MAX_BYTES = 2**20


@dataclass(frozen=True)
class NodeType:
    """Nodes of which the autoscaler starts as many as are needed.

    Attributes:
        resources: Of each.
        at_least: How many there always are.
        at_most: How many there may be.
    """

    resources: Mapping[str, float]
    at_least: int
    at_most: int


@dataclass(frozen=True)
class Growth:
    """The largest that a cluster may become.

    Attributes:
        types: Of its nodes; the head is one of them.
        at_most: How many nodes there may be in all.
        caps: The most that there may be of a resource in all, where that is limited.
    """

    types: tuple[NodeType, ...]
    at_most: int
    caps: Mapping[str, float]

    def largest(self, worth: Callable[[Mapping[str, float]], int]) -> int:
        """The sum of what the nodes are worth, of those of all clusters it may become for which it is highest."""
        left = self.at_most - sum(each.at_least for each in self.types)
        total = 0
        for value, kind in sorted(((worth(each.resources), each) for each in self.types), key=lambda pair: -pair[0]):
            more = max(0, min(kind.at_most - kind.at_least, left))
            left -= more
            total += value * (kind.at_least + more)
        return total

    def __str__(self) -> str:
        """The nodes that trials may live on."""
        sizes = [
            f"{'any number' if each.at_most >= sys.maxsize else each.at_most} × "
            f"{each.resources.get('CPU', 0):g} CPU, {each.resources.get('GPU', 0):g} GPU"
            for each in self.types
            if each.resources.get("CPU") or each.resources.get("GPU")
        ]
        limits = [f"{most:g} {kind} in all" for kind, most in self.caps.items()]
        if self.at_most < min(sys.maxsize, sum(each.at_most for each in self.types)):
            limits.append(f"{self.at_most} nodes in all")
        return ", ".join([" + ".join(sizes) or "no node for trials", *limits])


def find_growth() -> Growth | None:
    """What the Ray that this process is connected to may grow to; None where nothing says so."""
    told = state.get_cluster_config()
    if told and told.node_group_configs:
        return _of_gcs(told)
    here = ray.get_runtime_context().get_node_id()
    head = next(
        (node["Resources"] for node in ray.nodes() if node["NodeID"] == here and _HEAD in node["Resources"]), None
    )
    config = (_of_monitor() or _of_kubernetes()) if head is not None else None
    return _of_config(config, head) if config and head is not None else None


def _of_gcs(told: Any) -> Growth:
    types = tuple(
        NodeType(
            resources=dict(group.resources),
            at_least=group.min_count,
            at_most=sys.maxsize if group.max_count < 0 else group.max_count,
        )
        for group in told.node_group_configs
    )
    return Growth(types, sys.maxsize, dict(told.max_resources))


def _of_config(config: dict[str, Any], head: Mapping[str, float]) -> Growth:
    """Of a cluster in the form that Ray's autoscalers take."""
    most = config.get("max_workers", sys.maxsize)
    workers = [
        NodeType(
            resources=each.get("resources", {}),
            at_least=each.get("min_workers", 0),
            at_most=min(each.get("max_workers", most), most),
        )
        for name, each in config["available_node_types"].items()
        if name != config["head_node_type"]
    ]
    return Growth((NodeType(dict(head), 1, 1), *workers), most + 1, {})


def _of_monitor() -> dict[str, Any] | None:
    """The file with which the autoscaler of this cluster was started, by its command line."""
    ours = f"--gcs-address={ray.get_runtime_context().gcs_address}"
    for folder, line in _processes():
        files = [each.partition("=")[2] for each in line if each.startswith("--autoscaling-config=")]
        if ours in line and files and any(each.endswith(_MONITORS) for each in line):
            try:
                with (folder / "cwd" / files[0]).open("rb") as stream:
                    config: dict[str, Any] = yaml.safe_load(stream.read(_MAX_BYTES))
            except (OSError, yaml.YAMLError):
                return None
            return config
    return None


def _processes() -> Iterator[tuple[Path, list[str]]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield folder, (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has ended meanwhile


def _of_kubernetes() -> dict[str, Any] | None:
    """That of the RayCluster whose head this pod is; KubeRay lets the heads of autoscaling clusters read theirs."""
    name = os.environ.get("RAY_CLUSTER_NAME")
    if not name or not _NAMESPACE.exists():
        return None
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
    from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient

    try:
        cluster = KubernetesHttpApiClient(namespace=_NAMESPACE.read_text().strip()).get(f"rayclusters/{name}")
    except OSError:  # as a rule: not allowed to, as the cluster does not grow
        return None
    if not cluster["spec"].get("enableInTreeAutoscaling"):
        return None
    config: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(cluster)
    return config
