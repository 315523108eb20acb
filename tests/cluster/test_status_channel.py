"""Messages between the workers of a training and its command line, and how a training ends."""

from __future__ import annotations

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from rcn_search.cluster.credentials import Credentials
from rcn_search.cluster.status_channel import StatusChannel, StepDone, TrainingEnd, start_status_channel
from rcn_search.cluster.train_distributed import end_for
from rcn_search.errors import RcnSearchError
from rcn_search.training.exit_status import Interrupted, TrainingFailed


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Interrupted("stopped after epoch 3"), "interrupted", "stopped after epoch 3"),
        (TrainingFailed("the loss became nan"), "failed", "the loss became nan"),
        (torch.OutOfMemoryError("CUDA out of memory."), "failed", "out of memory.; try a smaller schedule.batch_size"),
        (RcnSearchError("no such split"), "user_error", "no such split"),
        (OSError(28, "No space left on device"), "user_error", "No space left"),
        (KeyError("bug"), "crashed", "KeyError: 'bug'"),
        (ValueError("bug"), "crashed", "ValueError: bug"),
    ],
)
def test_end_for_classifies_the_error_of_a_worker(error: Exception, status: str, reason: str) -> None:
    end = end_for(error)
    assert end is not None
    assert end.status == status
    assert reason in end.reason


def test_end_for_lost_connection_is_no_end() -> None:
    assert end_for(RuntimeError("Connection closed by peer")) is None


def test_status_channel_cancel_start_ends_only_a_training_without_workers() -> None:
    channel = StatusChannel()
    channel.set_credentials(Credentials({"AWS_REGION": "here"}))
    orders = channel.register()
    assert (orders.credentials.variables, orders.resume, orders.has_ended) == ({"AWS_REGION": "here"}, False, False)
    assert channel.has_worker()
    assert not channel.cancel_start()
    assert channel.end() == TrainingEnd(status="done")

    without_worker = StatusChannel()
    assert without_worker.cancel_start()
    assert without_worker.end().status == "interrupted"
    assert without_worker.register().has_ended


def test_status_channel_delivers_each_message_once_and_the_wish_to_stop() -> None:
    channel = StatusChannel()
    assert not channel.send(StepDone(1, 9))
    assert channel.drain(stop=True) == [StepDone(1, 9)]
    assert channel.send(StepDone(2, 9))
    assert channel.drain(stop=True) == [StepDone(2, 9)]
    assert channel.drain(stop=True) == []


def test_status_channel_first_reason_counts() -> None:
    channel = StatusChannel()
    channel.finish(TrainingEnd(status="user_error", reason="no such split"))
    channel.finish(TrainingEnd(status="failed", reason="the loss became nan"))
    assert channel.end().reason == "no such split"


@pytest.mark.slow
def test_start_status_channel_places_it_on_the_node_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would put an actor that needs no resources anywhere: on a node that may die, or be returned to the cloud."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        channels = [start_status_channel() for _ in range(6)]
        nodes = ray.get(
            [channel.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id()) for channel in channels]
        )
        assert set(nodes) == {ray.get_runtime_context().get_node_id()}
    finally:
        ray.shutdown()
        cluster.shutdown()
