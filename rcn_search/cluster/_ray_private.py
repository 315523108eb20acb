"""Private parts of Ray that have no public counterpart; nothing else in the package touches Ray's private names.

Any release of Ray may change them, so the dependency is bounded to the minor version that
tests/cluster/test_ray_private.py was run with. Raise the bound when these tests pass on the next one.
"""

from __future__ import annotations

from typing import Any

from ray.tune.execution import class_cache


def disable_tune_env_propagation() -> None:
    """Keep Ray Tune from giving its actors a ``runtime_env`` with the AWS keys of this process, which Ray would log."""
    class_cache.ENV_VARS_TO_PROPAGATE.clear()
    class_cache.DEFAULT_ENV_VARS.clear()


def keep_idle_actors(tune_controller: Any, resources: Any, num_actors: int) -> None:
    """Let Ray Tune keep this many idle actors for reuse more than the one that it keeps by default."""
    tune_controller._actor_cache.increase_max(resources, num_actors)
