"""No training step waits for its device: checked without a GPU, by what a step asks PyTorch for.

On a GPU a step would wait where it reads a value back, where a shape depends on values, and where numbers of Python
become a tensor (a copy to the device). None of that can be captured as a CUDA graph, either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from traceback import extract_stack
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import Dataset, Split
from rcn_search.models import fft_conv
from rcn_search.training.trainer import Trainer
from tests.support.training_steps import MODELS, OPTIMIZERS, allow_capturable_adadelta, trainer

WAITING = (
    "_local_scalar_dense",  # item(), float(), bool()
    "lift_fresh",  # torch.tensor(), new_tensor(), an index that is a list
    "nonzero",
    "masked_select",
    "unique",
    "bincount",
    "repeat_interleave.Tensor",
    "equal",
    "is_nonzero",
    "_linalg_check_errors",
    "linalg_det",  # factorizations of a GPU's libraries may wait
    "_linalg_det",
)


class NoWaits(TorchDispatchMode):
    """Refuses all operations for which a step would wait for a GPU, while ``is_strict``."""

    is_strict, num_operations = False, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.is_strict:
            return func(*args, **(kwargs or {}))
        name = str(func).removeprefix("aten.")
        self.num_operations += 1
        assert not name.startswith(WAITING) or is_adadelta_on_the_cpu(), f"{name} waits for the device"
        if name.startswith(("index.", "index_put", "_index_put")):
            indices = [index for index in args[1] if index is not None]
            assert not any(index.dtype in (torch.bool, torch.uint8) for index in indices), f"{name} by a mask waits"
        target = (kwargs or {}).get("device")
        assert target is None or not name.startswith("_to_copy") or torch.device(target) == args[0].device, (
            f"{name} waits"
        )
        return func(*args, **(kwargs or {}))


def is_adadelta_on_the_cpu() -> bool:
    """Whether the caller is PyTorch's AdaDelta, which counts steps by a tensor if, and only if, they are on the CPU."""
    lines = [frame.line or "" for frame in extract_stack() if frame.name == "_multi_tensor_adadelta"]
    return any('device="cpu"' in line for line in lines)


@pytest.fixture
def like_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose on the CPU what is chosen on a GPU: data in one tensor, AdaDelta and the denoiser in other forms."""
    load = Dataset.split

    def split(self: Dataset, name: str, device: str | torch.device = "cpu") -> Split:
        loaded = load(self, name, device)
        return replace(loaded, images=(torch.cat(loaded.images),))

    monkeypatch.setattr(Dataset, "split", split)
    allow_capturable_adadelta(monkeypatch)
    monkeypatch.setattr(fft_conv, "ShiftedKernels", fft_conv.Phases)


def guard_epoch(run: Trainer) -> int:
    """Train an epoch of three steps, the last one short. All but the first are guarded, and the loop around them.

    Returns the number of guarded operations.
    """
    guard = NoWaits()

    def on_step(step: int, num_steps: int) -> None:
        guard.is_strict = step < num_steps

    run.on_step = on_step
    with guard:
        run.train_epoch()
    return guard.num_operations


@pytest.mark.usefixtures("like_a_gpu")
@pytest.mark.parametrize(
    ("model", "optimizer", "step"),
    [
        *[(model, "muon", "graph") for model in MODELS],
        ("rcn", "adamw", "graph"),
        ("rcn", "adadelta", "graph"),
        ("rcn", "muon", "eager"),
        ("tcdcn", "adadelta", "eager"),
    ],
)
def test_train_epoch_waits_for_the_device_at_its_end_alone(
    tiny_config: TrainConfig, tmp_path: Path, model: str, optimizer: str, step: str
) -> None:
    run = trainer(tiny_config, tmp_path / "run", step, model=MODELS[model], optimizer=OPTIMIZERS[optimizer])
    assert guard_epoch(run) > 500


@pytest.mark.usefixtures("like_a_gpu")
@pytest.mark.parametrize(
    "breaking",
    [
        lambda loss: loss * float(loss.detach()),
        lambda loss: loss * torch.tensor(2.0),
        lambda loss: loss * loss.new_tensor([1.0])[0],
        lambda loss: loss + torch.nonzero(loss).sum(),
        lambda loss: loss + loss[None][loss[None] > 0].sum(),
        lambda loss: loss.expand(3)[[0, 2]].sum(),
        lambda loss: loss * torch.linalg.inv(loss.detach().view(1, 1)).sum(),
        lambda loss: loss.to("meta"),
    ],
)
def test_guard_names_a_step_that_waits(
    tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaking: Callable[[Tensor], Tensor]
) -> None:
    run = trainer(tiny_config, tmp_path / "run", "eager")
    forward = run.state._forward

    def broken(*args: Any) -> Any:
        output, loss = forward(*args)
        return (output, breaking(loss)) if run.state.num_steps_done else (output, loss)

    monkeypatch.setattr(run.state, "_learn", broken)
    with pytest.raises(AssertionError, match="waits"):
        guard_epoch(run)
