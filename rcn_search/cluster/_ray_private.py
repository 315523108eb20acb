"""Private parts of Ray that have no public counterpart; nothing else in the package touches Ray's private names.

Any release of Ray may change them, so the dependency is bounded to the minor version that
tests/cluster/test_ray_private.py was run with. Raise the bound when these tests pass on the next one.
"""

from __future__ import annotations

from typing import Any

import grpc
from ray._private import services
from ray._private.grpc_utils import init_grpc_channel
from ray.tune.execution import class_cache


def disable_tune_env_propagation() -> None:
    """Keep Ray Tune from giving its actors a ``runtime_env`` with the AWS keys of this process, which Ray would log."""
    class_cache.ENV_VARS_TO_PROPAGATE.clear()
    class_cache.DEFAULT_ENV_VARS.clear()


def keep_idle_actors(tune_controller: Any, resources: Any, num_actors: int) -> None:
    """Let Ray Tune keep this many idle actors for reuse more than the one that it keeps by default."""
    tune_controller._actor_cache.increase_max(resources, num_actors)


def cluster_address(address: str) -> str:
    """Return HOST:PORT of an address as RAY_ADDRESS has it; ``auto`` is the cluster started last on this machine.

    Raises:
        ConnectionError: There is no cluster on this machine.
        ValueError: It is not an address.
    """
    found = address.removeprefix("ray://")
    if found == "auto":
        found = services.canonicalize_bootstrap_address(address) or ""
    if not found.rpartition(":")[0] or not found.rpartition(":")[2].isdecimal():
        raise ValueError("not an address: give HOST:6379, as printed by ray start --head, or auto")
    return found


def is_answering(address: str, timeout_s: float) -> bool:
    """Whether a server of Ray answers at HOST:PORT, with the encryption that Ray uses, within so many seconds."""
    channel = init_grpc_channel(address)
    try:
        grpc.channel_ready_future(channel).result(timeout=timeout_s)
    except grpc.FutureTimeoutError:
        return False
    finally:
        channel.close()
    return True
