from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from rcn_search.config.schema import TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.training import probe_steps
from rcn_search.training.compute_settings import ComputeSettings
from rcn_search.training.probe_steps import step_timers
from rcn_search.training.static_step import NUM_WARM_UP_STEPS, StaticStep


def settings_of(step: str) -> ComputeSettings:
    return ComputeSettings(device="cpu", precision="fp32", channels_last=True, threads=1, step=step)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Kinds of step, each time that one is taken, by steps that do nothing."""
    calls: list[str] = []

    def training_step(
        config: TrainConfig, settings: ComputeSettings, num_points: int
    ) -> Callable[[ComputeSettings], None]:
        return lambda settings: calls.append(settings.step)

    monkeypatch.setattr(probe_steps, "_training_step", training_step)
    return calls


def test_step_timers_capture_a_graph_outside_of_the_measured_time(tiny_config: TrainConfig, calls: list[str]) -> None:
    """A capture takes longer than a candidate may take that has hope."""
    step_s = step_timers(tiny_config, 5)
    for kind, num_calls in (("eager", 1), ("graph", 2), ("graph", 1), ("eager", 1)):
        calls.clear()
        assert step_s(settings_of(kind)) < 60
        assert calls == [kind] * num_calls


@pytest.mark.parametrize("step", ["auto", "graph"])
def test_step_timers_drop_a_graph_that_cannot_be_captured(
    tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise RcnSearchError("cannot be captured")

    monkeypatch.setattr(StaticStep, "__call__", fail)
    compute = tiny_config.compute.model_copy(update={"step": step})
    step_s = step_timers(tiny_config.model_copy(update={"compute": compute}), 5)
    if step == "auto":
        assert step_s(settings_of("graph")) == math.inf
    else:
        with pytest.raises(RcnSearchError, match="cannot be captured"):
            step_s(settings_of("graph"))


def test_step_timers_train_in_the_kind_of_step(tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph is warmed up, captured, and then measured."""
    num_steps = 0
    call = StaticStep.__call__

    def count(self: StaticStep, *args: object) -> object:
        nonlocal num_steps
        num_steps += 1
        return call(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(StaticStep, "__call__", count)
    step_s = step_timers(tiny_config, 5)
    assert step_s(settings_of("graph")) > 0
    assert num_steps == NUM_WARM_UP_STEPS + 2
    step_s(settings_of("eager"))
    assert num_steps == NUM_WARM_UP_STEPS + 2
