from __future__ import annotations

from typing import Any

import pytest
import torch

from rcn_search import storage
from rcn_search.search.trial_actor import TrialActor, TrialSpec
from rcn_search.study.store import TRIAL_NAME
from rcn_search.training.gpu_memory import CONTEXT_BYTES, limit_memory, memory_fraction

GIB = 2**30


@pytest.mark.parametrize("gpus", [0, 1, 2])
def test_whole_gpus_are_not_limited(gpus):
    assert memory_fraction(gpus, 24 * GIB) == 1


@pytest.mark.parametrize("num_trials", [2, 4, 8])
def test_trials_of_a_gpu_fit_with_what_cuda_keeps_for_each(num_trials):
    total = 24 * GIB
    fraction = memory_fraction(1 / num_trials, total)
    assert num_trials * (fraction * total + CONTEXT_BYTES) == pytest.approx(total)


def test_a_share_too_small_to_train_in_is_refused_with_the_least():
    with pytest.raises(ValueError, match=r"0\.1 of a GPU with 8\.0 GiB .* budget\.gpus_per_trial=0\.20"):
        memory_fraction(0.1, 8 * GIB)
    assert memory_fraction(0.2, 8 * GIB) > 0


def test_torch_is_given_the_fraction(monkeypatch):
    """There is no GPU here: what torch would be told."""
    told = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: type("", (), {"total_memory": 16 * GIB}))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: told.append(given))
    limit_memory(1)
    limit_memory(0.25)
    assert told == [(memory_fraction(0.25, 16 * GIB), 0)]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), MemoryError("no more")]
)
def test_a_trial_that_runs_out_of_memory_fails_alone(error, tiny_config, tmp_path):
    """The run is real; the error comes from within its second epoch, and the next trial of the process trains."""

    def trial(name: str) -> dict[str, Any]:
        storage.write_json(str(tmp_path / name / TRIAL_NAME), {})  # as the search process does
        folder = str(tmp_path / name)
        return TrialSpec(number=0, folder=folder, config=tiny_config, base_config=tiny_config).to_tune_config()

    def run_out(*args: object) -> None:
        raise error

    actor = TrialActor.__new__(TrialActor)
    actor.setup(trial("0"))
    assert actor.step()["epoch"] == 1
    actor._run.state.network.register_forward_hook(run_out)
    result = actor.step()
    assert result["done"]
    assert result["failure"] == f"{type(error).__name__}: {error}"
    assert "halt" not in result

    assert actor.reset_config(trial("1"))
    assert "failure" not in actor.step()
    assert actor.step()["complete"]
