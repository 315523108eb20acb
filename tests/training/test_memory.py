from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rcn_search import storage
from rcn_search.config.schema import TrainConfig
from rcn_search.search.trial_actor import TrialActor, TrialSpec
from rcn_search.study.store import TRIAL_NAME
from rcn_search.training.memory import CONTEXT_BYTES, limit_memory, memory_fraction

GIB = 2**30


@pytest.mark.parametrize("gpus", [0, 1, 2])
def test_memory_fraction_of_whole_gpus_is_one(gpus: float) -> None:
    assert memory_fraction(gpus, 24 * GIB) == 1


@pytest.mark.parametrize("num_trials", [2, 4, 8])
def test_memory_fraction_leaves_room_for_every_cuda_context(num_trials: int) -> None:
    total = 24 * GIB
    fraction = memory_fraction(1 / num_trials, total)
    assert num_trials * (fraction * total + CONTEXT_BYTES) == pytest.approx(total)


def test_memory_fraction_of_too_small_share_names_the_smallest() -> None:
    with pytest.raises(ValueError, match=r"0\.1 of a GPU with 8\.0 GiB .* budget\.gpus_per_trial=0\.20"):
        memory_fraction(0.1, 8 * GIB)
    assert memory_fraction(0.2, 8 * GIB) > 0


def test_limit_memory_sets_the_fraction_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU: the call of torch is recorded."""
    calls: list[tuple[float, int]] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: type("", (), {"total_memory": 16 * GIB}))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *arguments: calls.append(arguments))
    limit_memory(1)
    limit_memory(0.25)
    assert calls == [(memory_fraction(0.25, 16 * GIB), 0)]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), MemoryError("no more")]
)
def test_trial_actor_after_out_of_memory_trains_the_next_trial(
    error: Exception, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    def trial(name: str) -> dict[str, Any]:
        storage.write_json(str(tmp_path / name / TRIAL_NAME), {})  # as the search process does
        folder = str(tmp_path / name)
        return TrialSpec(number=0, folder=folder, config=tiny_config, base_config=tiny_config).to_tune_config()

    def run_out(*args: object) -> None:
        raise error

    actor = TrialActor.__new__(TrialActor)
    actor.setup(trial("0"))
    assert actor.step()["epoch"] == 1
    actor._trainer.state.network.register_forward_hook(run_out)
    result = actor.step()
    assert result["done"]
    assert result["failure"] == f"{type(error).__name__}: {error}"
    assert "halt" not in result

    assert actor.reset_config(trial("1"))
    assert "failure" not in actor.step()
    assert actor.step()["complete"]
