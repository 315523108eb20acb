"""Code of custom networks on a cluster: how it travels to the nodes, and whether each node can import it.

``ray job submit`` sends the working directory. A search with RAY_ADDRESS, which has none, sends the modules themselves
in its runtime environment, unless they are installed: an installed package must be so on every node.
"""

from __future__ import annotations

import importlib.util
import sysconfig
from collections.abc import Collection, Iterable
from pathlib import Path

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rcn_search.config.network_target import TargetError, allow_target, import_target
from rcn_search.errors import list_first

_TIMEOUT_S = 600.0
"""For a process on a node whose cores are all busy, which imports torch."""
_INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib"))


def local_modules(targets: Iterable[str]) -> list[str]:
    """Find the files and folders of the top-level modules of networks that are not installed."""
    paths = []
    for name in dict.fromkeys(target.partition(":")[0].partition(".")[0] for target in targets):
        spec = importlib.util.find_spec(name)
        places = [*(spec.submodule_search_locations or ([spec.origin] if spec.origin else []))] if spec else []
        paths += [place for place in places if not any(Path(place).resolve().is_relative_to(top) for top in _INSTALLED)]
    return paths


def check_nodes(targets: Collection[str]) -> None:
    """Import networks in a process on each node of the cluster; without any nothing is started.

    Raises:
        TargetError: A node cannot import one of them; the message names the nodes.
    """
    if not targets:
        return
    probe = ray.remote(num_cpus=0, max_retries=0)(_import_problem)
    calls = {
        node["NodeManagerAddress"]: probe.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        ).remote(list(targets))
        for node in ray.nodes()
        if node["Alive"]
    }
    problems = {address: problem for address, call in calls.items() if (problem := _result(call))}
    if problems:
        text = list_first([f"node {address}: {problem}" for address, problem in problems.items()], "\n")
        raise TargetError(f"{len(problems)} of {len(calls)} nodes cannot import the network:\n{text}")


def _import_problem(targets: list[str]) -> str:
    for target in targets:
        allow_target(target)
        try:
            import_target(target)
        except TargetError as error:
            return str(error)
    return ""


def _result(call: ray.ObjectRef) -> str:
    try:
        return str(ray.get(call, timeout=_TIMEOUT_S))
    except GetTimeoutError:
        return f"did not answer within {_TIMEOUT_S:.0f} s; check its load, and ray status"
    except RayError as error:
        return str(error).strip().rpartition("\n")[2]
