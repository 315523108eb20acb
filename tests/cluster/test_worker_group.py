"""Worker group of a trial in which one worker fails or dies alone, through real Ray and gloo."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.exceptions import RayActorError, RayTaskError
from ray.util import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rcn_search.cluster.credentials import Credentials
from rcn_search.cluster.worker_group import WorkerDied, WorkerGroup, WorkerResult, root_cause
from rcn_search.config.schema import TrainConfig
from rcn_search.data.shards import DatasetError

MUCH_LESS_THAN_GLOO_TIMEOUT_S = 120
"""Gloo waits half an hour for a silent worker."""
CONNECTION_LOST = RuntimeError("Connection closed by peer")
DIED = RayActorError()
NO_DATA = DatasetError("no data set")


@pytest.mark.parametrize(
    ("error", "others", "cause"),
    [
        (CONNECTION_LOST, [DIED], WorkerDied),
        (DIED, [None], WorkerDied),
        (NO_DATA, [DIED], WorkerDied),
        (CONNECTION_LOST, [NO_DATA], NO_DATA),
        (RayTaskError("epoch", "", NO_DATA), [NO_DATA], NO_DATA),
        (CONNECTION_LOST, [RuntimeError("lost, too"), NO_DATA], NO_DATA),
        (CONNECTION_LOST, [torch.OutOfMemoryError("too large"), RuntimeError("lost, too")], torch.OutOfMemoryError),
        (CONNECTION_LOST, [None], CONNECTION_LOST),
        (NO_DATA, [CONNECTION_LOST], NO_DATA),
        (NO_DATA, [None, None], NO_DATA),
    ],
)
def test_root_cause_explains_the_errors_of_the_others(
    error: Exception, others: list[Exception | None], cause: Exception | type[Exception]
) -> None:
    chosen = root_cause(error, [WorkerResult(True, other) for other in others])
    assert isinstance(chosen, cause) if isinstance(cause, type) else chosen is cause


def test_root_cause_of_a_group_that_still_waits_is_the_own_error() -> None:
    assert root_cause(CONNECTION_LOST, [WorkerResult(is_done=False)]) is CONNECTION_LOST


class First:
    """The first worker of a trial."""

    def __init__(self) -> None:
        self.group = WorkerGroup(Credentials({}))

    def kill(self) -> None:
        """Kill the other worker while it starts."""
        ray.kill(self.group._workers[0])

    def break_other(self) -> None:
        """Make the next epoch of the other worker, and only of that, fail."""
        ray.get(self.group._workers[0].__ray_call__.remote(lambda worker: setattr(worker, "_trainer", None)))

    def epoch(self) -> tuple[str, float, bool]:
        """Type of the error, seconds it took, and whether the group is shut down."""
        started = time.monotonic()
        try:
            self.group.run_on_all("epoch", local=self.trainer.train_epoch)
        except Exception as error:
            return type(error).__name__, time.monotonic() - started, self.group.is_shut_down
        return "", 0.0, self.group.is_shut_down

    def open(self, own: str, others: str, folder: str) -> tuple[str, str, float, bool]:
        """Type and message of the error, seconds it took, and whether the group is shut down."""
        from rcn_search.training.distributed import DistributedContext
        from rcn_search.training.trainer import Trainer

        config, started = TrainConfig.model_validate_json(own), time.monotonic()
        try:
            self.trainer = self.group.run_on_all(
                "open",
                others,
                folder,
                local=lambda: Trainer(config, folder, resume=True, distributed=DistributedContext(0, 2)),
            )
        except Exception as error:
            return type(error).__name__, str(error), time.monotonic() - started, self.group.is_shut_down
        return "", "", 0.0, self.group.is_shut_down


@pytest.fixture
def first(ray_cluster: None) -> Iterator[Any]:
    group = placement_group([{"CPU": 1}, {"CPU": 1}])
    ray.get(group.ready())
    place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
    yield ray.remote(First).options(num_cpus=1, scheduling_strategy=place).remote()
    remove_placement_group(group)


def test_run_on_all_failing_worker_raises_its_error_at_once(
    first: Any, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    """For example without the data on its machine, while the first worker already waits for its gradients."""
    elsewhere = tiny_config.model_copy(update={"data": tiny_config.data.model_copy(update={"uri": "/nowhere"})})
    name, message, took_s, gone = ray.get(
        first.open.remote(tiny_config.model_dump_json(), elsewhere.model_dump_json(), str(tmp_path / "run"))
    )
    assert (name, gone) == ("DatasetError", True)
    assert "no data set at /nowhere" in message
    assert took_s < MUCH_LESS_THAN_GLOO_TIMEOUT_S


def test_run_on_all_failing_epoch_raises_its_error_at_once(
    first: Any, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    """While the first worker waits for its gradients."""
    config = tiny_config.model_dump_json()
    assert ray.get(first.open.remote(config, config, str(tmp_path / "run")))[0] == ""
    first.break_other.remote()
    name, took_s, gone = ray.get(first.epoch.remote())
    assert (name, gone) == ("AssertionError", True)
    assert took_s < MUCH_LESS_THAN_GLOO_TIMEOUT_S


def test_run_on_all_dying_worker_raises_worker_died_at_once(
    first: Any, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    first.kill.remote()
    config = tiny_config.model_dump_json()
    name, message, took_s, gone = ray.get(first.open.remote(config, config, str(tmp_path / "run")))
    assert (name, gone) == ("WorkerDied", True)
    assert "the 2 workers of the trial could not connect" in message
    assert took_s < MUCH_LESS_THAN_GLOO_TIMEOUT_S
