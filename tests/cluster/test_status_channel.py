"""Where the workers of a training and its command line leave word for each other, and how a training ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from rcn_search.cluster.status_channel import StatusChannel, TrainingEnd
from rcn_search.cluster.train_distributed import end_by, new_desk
from rcn_search.training.exit_status import Interrupted, TrainingFailed


@pytest.mark.parametrize(
    ("error", "how", "reason"),
    [
        (Interrupted("stopped after epoch 3"), "interrupted", "stopped after epoch 3"),
        (TrainingFailed("the loss became nan"), "failed", "the loss became nan"),
        (torch.OutOfMemoryError("CUDA out of memory."), "failed", "out of memory.; try a smaller schedule.batch_size"),
        (ValueError("no such split"), "wrong", "no such split"),
        (OSError(28, "No space left on device"), "wrong", "No space left"),
        (KeyError("fault"), "fault", "KeyError: 'fault'"),
    ],
)
def test_what_ends_a_training(error: Exception, how: str, reason: str) -> None:
    end = end_by(error)
    assert end is not None
    assert end.how == how
    assert reason in end.reason


def test_the_death_of_another_worker_ends_nothing() -> None:
    assert end_by(RuntimeError("Connection closed by peer")) is None


def test_a_desk_knows_whether_a_worker_has_come() -> None:
    desk = StatusChannel()
    assert not desk.has_arrived()
    desk.access()
    assert desk.has_arrived()
    assert not desk.give_up()
    assert desk.end() == TrainingEnd(how="done")


@pytest.mark.slow
def test_the_desk_stands_where_the_command_line_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ray would put an actor that needs nothing anywhere: on a node that may die, or be taken back by the cloud."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        desks = [new_desk() for _ in range(6)]
        places = ray.get(
            [desk.__ray_call__.remote(lambda desk: ray.get_runtime_context().get_node_id()) for desk in desks]
        )
        assert set(places) == {ray.get_runtime_context().get_node_id()}
    finally:
        ray.shutdown()
        cluster.shutdown()
