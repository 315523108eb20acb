"""A user's network in training, in checkpoints and in prediction."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rcn_search.config.network_target import ALLOW_VARIABLE, TargetError
from rcn_search.config.schema import TrainConfig
from rcn_search.inference.predictor import load
from rcn_search.training.checkpoint import CheckpointError, read_checkpoint
from rcn_search.training.exit_status import BEST_NAME, LAST_NAME, Interrupted
from rcn_search.training.trainer import Trainer
from tests.support.networks import TINY, WriteModule, custom


@pytest.fixture
def config(tiny_config: TrainConfig, write_module: WriteModule) -> TrainConfig:
    model = custom(f"{write_module(TINY)}:Tiny", width=20)
    return tiny_config.model_copy(update={"model": model})


def test_train_of_a_custom_network_with_dropout_resumes_bit_identically(config: TrainConfig, tmp_path: Path) -> None:
    straight = Trainer(config, str(tmp_path / "straight"))
    straight.train()
    torch.manual_seed(5)  # which nothing may depend on
    steps = iter([False, False, False, True])
    stopped = Trainer(config, str(tmp_path / "resumed"), should_stop=lambda: next(steps, True))
    with pytest.raises(Interrupted):
        stopped.train()
    Trainer(config, str(tmp_path / "resumed"), resume=True).train()
    first, second = (read_checkpoint(str(tmp_path / name / LAST_NAME)).tensors for name in ("straight", "resumed"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(name.endswith("num_batches_tracked") for name in first)


def test_train_of_a_network_of_points(config: TrainConfig, tmp_path: Path) -> None:
    model = config.model.model_copy(update={"target": config.model.target.replace("Tiny", "Points")})
    trainer = Trainer(config.model_copy(update={"model": model}), str(tmp_path / "run"))
    trainer.train()
    assert all(report.loss > 0 for report in trainer.history)
    predictor = load(str(tmp_path / "run"))
    faces = predictor.predict(torch.zeros(160, 160, dtype=torch.uint8).numpy(), detector="none")
    assert faces.points.shape == (1, 5, 2)
    assert predictor.multiply_adds > 0


def test_train_of_what_is_no_prediction_leaves_no_run(config: TrainConfig, tmp_path: Path) -> None:
    model = config.model.model_copy(update={"args": {"stride": 3}})
    with pytest.raises(TargetError, match=r"shape \(2, 5, 27, 27\); wanted are logits \(2, 5, g, g\) of a side g that"):
        Trainer(config.model_copy(update={"model": model}), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_checkpoint_of_a_custom_network_runs_its_code_only_where_it_is_allowed(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Trainer(config.model_copy(update={"schedule": config.schedule.model_copy(update={"epochs": 1})}), "run").train()
    best = str(Path("run").absolute() / BEST_NAME)
    assert load(best).num_params > 0
    target = config.model.target.partition(":")[0]
    monkeypatch.setenv(ALLOW_VARIABLE, "")
    with pytest.raises(
        CheckpointError, match=f"{BEST_NAME}: model.target names the code {target}:Tiny.*--allow-target"
    ):
        load(best)
    code = (
        f"import sys, rcn_search\ntry: rcn_search.load({best!r})\nexcept ValueError: print({target!r} in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
