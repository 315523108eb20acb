from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from rcn_search.config.schema import RcnConfig, TcdcnConfig, TrainConfig
from rcn_search.models.tcdcn import TcdcnOutput
from rcn_search.training.exit_status import Interrupted
from rcn_search.training.tcdcn_task_stopping import TaskStopping, stopping_criterion
from rcn_search.training.trainer import Trainer

LABELS = {"smile": torch.tensor([0, 1])}


def output_with(probability: float) -> TcdcnOutput:
    """Output that gives the true class of a smile this probability: its cross-entropy is -log p."""
    logits = torch.tensor([[probability, 1 - probability], [1 - probability, probability]]).log()
    return TcdcnOutput(torch.zeros(2, 5, 2), {"smile": logits})


def test_stopping_criterion_by_hand() -> None:
    """k = 5: median 0.4, sum 2.1; scaled median 2.0, decrease 0.1; gap (0.6 - 0.3) / (0.5 * 0.3)."""
    assert stopping_criterion((0.6, 0.4, 0.4, 0.4, 0.3), 0.6, 0.5) == pytest.approx(2.0 / 0.1 * 2.0)


@pytest.mark.parametrize(
    ("train_errors", "val_error", "expected"),
    [
        ((0.9, 0.5, 0.4, 0.3), 5.0, -math.inf),  # fewer than five epochs
        ((0.9, 0.5, 0.4, 0.3, 0.2), 0.2, -math.inf),  # generalizes
        ((0.3, 0.3, 0.3, 0.3, 0.3), 0.5, math.inf),  # does not fall
        ((0.5, 0.5, 0.4, 0.0, 0.0), 0.5, math.inf),  # memorized
    ],
)
def test_stopping_criterion_at_its_limits(train_errors: tuple[float, ...], val_error: float, expected: float) -> None:
    assert stopping_criterion(train_errors, val_error, 0.1) == expected


def test_stopping_criterion_uses_the_last_epochs_and_the_overall_minimum() -> None:
    assert stopping_criterion((0.1, 0.6, 0.4, 0.4, 0.4, 0.3), 0.6, 0.5) == pytest.approx(2.0 / 0.1 * 0.5 / (0.5 * 0.1))


def stopping_after(epochs: int, validation: Mapping[str, float]) -> TaskStopping:
    stopping = TaskStopping(TcdcnConfig(auxiliary=True, auxiliary_weight=1.0, task_stop_threshold=0.5))
    for epoch in range(1, epochs + 1):
        for _ in range(3):
            stopping.record_step(output_with(0.5), LABELS)
            stopping.count_step()
        stopping.end_epoch(epoch, validation)
    return stopping


def test_task_stopping_drops_an_attribute_that_overfits() -> None:
    assert stopping_after(4, {"smile": 0.8}).dropped == {}
    late = stopping_after(5, {"smile": 0.8})
    assert late.dropped == {"smile": 5}
    assert late.active_attributes(LABELS | {"pose": torch.tensor([1, 1])}).keys() == {"pose"}
    assert stopping_after(9, {"smile": 0.5}).dropped == {}


def test_task_stopping_without_threshold_drops_nothing() -> None:
    for model in (TcdcnConfig(auxiliary=True), RcnConfig()):
        stopping = TaskStopping(model)
        for epoch in range(1, 9):
            stopping.record_step(output_with(0.5), LABELS)
            stopping.count_step()
            stopping.end_epoch(epoch, {"smile": 9.0})
        assert stopping.active_attributes(LABELS) == LABELS


def test_task_stopping_state_can_be_restored() -> None:
    one = stopping_after(4, {"smile": 0.8})
    one.record_step(output_with(0.25), LABELS)
    one.count_step()
    other = TaskStopping(TcdcnConfig(auxiliary=True, auxiliary_weight=1.0, task_stop_threshold=0.5))
    other.load_state(one.state(), "cpu")
    assert other.state() == one.state()
    assert one.state().sums["smile"] == pytest.approx(-math.log(0.25))
    for stopping in (one, other):
        stopping.end_epoch(5, {"smile": 0.8})
    assert other.state() == one.state()


def test_train_resumed_after_dropping_attributes_is_bit_identical(tiny_config: TrainConfig, tmp_path: Path) -> None:
    document = tiny_config.model_dump()
    document["model"] = {"name": "tcdcn", "auxiliary": True, "task_stop_threshold": 1e-6}
    document["schedule"] |= {"epochs": 7}
    config = TrainConfig.model_validate(document)
    straight = Trainer(config, str(tmp_path / "straight"))
    straight.train()
    assert straight.state.task_stopping.dropped
    assert set(straight.state.task_stopping.dropped.values()) <= {5, 6, 7}
    stopped = Trainer(config, str(tmp_path / "stopped"))
    stopped.should_stop = lambda: stopped.state.num_steps_done == 17
    with pytest.raises(Interrupted):
        stopped.train()
    resumed = Trainer(config, str(tmp_path / "stopped"), resume=True)
    resumed.train()
    assert resumed.state.task_stopping.state() == straight.state.task_stopping.state()
    for one, other in zip(resumed.state.network.parameters(), straight.state.network.parameters(), strict=True):
        assert torch.equal(one, other)
