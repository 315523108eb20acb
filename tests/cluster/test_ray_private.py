"""Contract of the private parts of Ray that the package uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.schedulers import FIFOScheduler

from rcn_search.cluster import _ray_private


class OneStep(tune.Trainable):
    def step(self) -> dict[str, Any]:
        return {"done": True}


def runtime_env() -> dict[str, str]:
    """Environment variables that Tune would give to an actor."""
    actor = class_cache._ActorClassCache().get(OneStep)
    variables: dict[str, str] = actor._default_options["runtime_env"].get("env_vars", {})
    return variables


def test_disable_tune_env_propagation_leaves_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_cache, "ENV_VARS_TO_PROPAGATE", {"AWS_SECRET_ACCESS_KEY", "OTHER"})
    monkeypatch.setattr(class_cache, "DEFAULT_ENV_VARS", {"PL_DISABLE_FORK": "1"})
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    assert runtime_env() == {"AWS_SECRET_ACCESS_KEY": "s3cret", "PL_DISABLE_FORK": "1"}
    _ray_private.disable_tune_env_propagation()
    assert runtime_env() == {}


def test_keep_idle_actors_raises_the_limit_of_a_running_experiment(ray_cluster: None, tmp_path: Path) -> None:
    limits: list[int] = []

    class KeepsTwo(FIFOScheduler):
        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
            before = tune_controller._actor_cache.total_max_objects
            _ray_private.keep_idle_actors(tune_controller, trial.placement_group_factory, 2)
            limits.append(tune_controller._actor_cache.total_max_objects - before)

    tune.run(OneStep, scheduler=KeepsTwo(), storage_path=str(tmp_path), reuse_actors=True, verbose=0)
    assert limits == [2]
