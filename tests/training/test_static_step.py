from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rcn_search.config.schema import TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.training.compute_probe import choose_settings
from rcn_search.training.static_step import StaticStep
from rcn_search.training.trainer import Trainer
from tests.support.training_steps import MODELS, OPTIMIZERS, trainer


def test_static_step_reads_rows_and_draws_where_the_first_ones_were() -> None:
    """A graph that was captured reads the same memory in every step."""
    places: list[tuple[int, int]] = []

    def step(rows_b: Tensor, draws_bd: Tensor) -> Tensor:
        places.append((rows_b.data_ptr(), draws_bd.data_ptr()))
        return rows_b.sum() + draws_bd.sum()

    static = StaticStep(step, torch.device("cpu"))
    for number in range(3):
        rows_b, draws_bd = torch.full((4,), number), torch.full((4, 2), 10.0 * number)
        assert static(rows_b, draws_bd) == 4 * number + 80 * number
    assert static(torch.ones(3, dtype=torch.int64), torch.zeros(3, 2)) == 3, "a last short batch"
    assert static(torch.ones(4, dtype=torch.int64), torch.zeros(4, 2), variant=("pose",)) == 4
    assert len({*places[:3]}) == 1
    assert len({*places}) == 3


@pytest.mark.parametrize(("model", "optimizer"), [("rcn", "adamw"), ("denoiser", "adamw")])
def test_train_epoch_static_equals_eager(tiny_config: TrainConfig, tmp_path: Path, model: str, optimizer: str) -> None:
    """Muon, which amplifies rounding, is compared by single steps in test_optim.py."""
    runs: dict[str, Trainer] = {}
    for step in ("eager", "graph"):
        sections: dict[str, Any] = {"model": MODELS[model], "optimizer": OPTIMIZERS[optimizer]}
        runs[step] = trainer(tiny_config, tmp_path / step, step, **sections)
        runs[step].train_epoch()
    eager, static = (run.state.tensors() for run in runs.values())
    assert eager.keys() == static.keys(), "a run can be resumed with another kind of step"
    for name, tensor in eager.items():
        torch.testing.assert_close(static[name], tensor, rtol=2e-3, atol=2e-5, msg=lambda text, n=name: f"{n}: {text}")
    assert static["model.trunk.0.weight"].ne(0).any()


def test_choose_settings_of_a_graph_without_a_gpu_is_refused(tiny_config: TrainConfig) -> None:
    config = TrainConfig.model_validate(tiny_config.model_dump() | {"compute": {"device": "cpu", "step": "graph"}})
    with pytest.raises(RcnSearchError, match=r"graph, but cpu is no GPU of CUDA; set compute\.step=eager"):
        choose_settings(config, 5)
