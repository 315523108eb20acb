"""The workers of a trial, of which one fails or dies alone: through real Ray and gloo."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.util import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rcn_search.cluster.credentials import Credentials
from rcn_search.cluster.worker_group import WorkerGroup
from rcn_search.config.schema import TrainConfig

MUCH_LESS_THAN_PATIENCE_S = 120
"""With a worker that is silent, gloo has patience for half an hour."""


class First:
    """The first worker of a trial."""

    def __init__(self) -> None:
        self.crew = WorkerGroup(Credentials({}))

    def kill(self) -> None:
        """The other worker, as soon as it was started."""
        ray.kill(self.crew._mates[0])

    def break_mate(self) -> None:
        """In its next epoch the other worker fails, and nobody else."""
        ray.get(self.crew._mates[0].__ray_call__.remote(lambda mate: setattr(mate, "_run", None)))

    def epoch(self) -> tuple[str, float, bool]:
        """What an error was, how long it took, and whether the crew is gone."""
        started = time.monotonic()
        try:
            self.crew.run_on_all("epoch", local=self.run.run_epoch)
        except Exception as error:
            return type(error).__name__, time.monotonic() - started, self.crew.is_shut_down
        return "", 0.0, self.crew.is_shut_down

    def open(self, own: str, mates: str, folder: str) -> tuple[str, str, float, bool]:
        """What an error was, what it said, how long it took, and whether the crew is gone."""
        from rcn_search.training.distributed import Workers
        from rcn_search.training.trainer import TrainRun

        config, started = TrainConfig.model_validate_json(own), time.monotonic()
        try:
            self.run = self.crew.run_on_all(
                "open", mates, folder, local=lambda: TrainRun(config, folder, resume=True, workers=Workers(0, 2))
            )
        except Exception as error:
            return type(error).__name__, str(error), time.monotonic() - started, self.crew.is_shut_down
        return "", "", 0.0, self.crew.is_shut_down


@pytest.fixture
def first(ray_cluster: None) -> Iterator[Any]:
    group = placement_group([{"CPU": 1}, {"CPU": 1}])
    ray.get(group.ready())
    place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
    yield ray.remote(First).options(num_cpus=1, scheduling_strategy=place).remote()
    remove_placement_group(group)


def test_a_worker_that_fails_alone_keeps_nobody_waiting(first: Any, tiny_config: TrainConfig, tmp_path: Path) -> None:
    """For example for want of the data on its machine: the first worker is by then in a round with it."""
    elsewhere = tiny_config.model_copy(update={"data": tiny_config.data.model_copy(update={"uri": "/nowhere"})})
    name, said, took_s, gone = ray.get(
        first.open.remote(tiny_config.model_dump_json(), elsewhere.model_dump_json(), str(tmp_path / "run"))
    )
    assert (name, gone) == ("DatasetError", True)
    assert "no data set at /nowhere" in said
    assert took_s < MUCH_LESS_THAN_PATIENCE_S


def test_a_worker_that_fails_alone_in_an_epoch_keeps_nobody_waiting(
    first: Any, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    """The first worker is in a round of gradients with it."""
    config = tiny_config.model_dump_json()
    assert ray.get(first.open.remote(config, config, str(tmp_path / "run")))[0] == ""
    first.break_mate.remote()
    name, took_s, gone = ray.get(first.epoch.remote())
    assert (name, gone) == ("AssertionError", True)
    assert took_s < MUCH_LESS_THAN_PATIENCE_S


def test_a_worker_that_dies_before_they_meet_keeps_nobody_waiting(
    first: Any, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    first.kill.remote()
    config = tiny_config.model_dump_json()
    name, said, took_s, gone = ray.get(first.open.remote(config, config, str(tmp_path / "run")))
    assert (name, gone) == ("WorkerDied", True)
    assert "the 2 workers of the trial did not meet" in said
    assert took_s < MUCH_LESS_THAN_PATIENCE_S
