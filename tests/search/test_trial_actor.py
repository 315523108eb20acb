from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from ray.util import get_node_ip_address

from rcn_search import storage
from rcn_search.config.schema import TrainConfig
from rcn_search.search.trial_actor import TrialActor, TrialSpec
from rcn_search.study.store import TRIAL_NAME
from rcn_search.training.exit_status import CONFIG_NAME, TrainingFailed
from rcn_search.training.trainer import Trainer


@pytest.fixture
def actor() -> TrialActor:
    """An actor without Ray: what Tune calls is the same."""
    return TrialActor.__new__(TrialActor)


def trial(config: TrainConfig, folder: Path, **changes: Any) -> dict[str, Any]:
    """A trial as the search process hands it out, which has published it before."""
    storage.write_json(storage.join(str(folder), TRIAL_NAME), {})
    spec = TrialSpec(number=0, folder=str(folder), config=config, base_config=config, **changes)
    return spec.to_tune_config()


def curve(result: dict) -> list[tuple[int, float]]:
    return [(epoch["epoch"], epoch["val_error_pct"]) for epoch in result["epochs"]]


def test_step_trains_one_epoch_of_one_trial_after_another(
    actor: TrialActor, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    actor.setup(trial(tiny_config, tmp_path / "0"))
    first, second = actor.step(), actor.step()
    assert [(each["epoch"], each["complete"], each["done"]) for each in (first, second)] == [
        (1, False, False),
        (2, True, True),
    ]
    assert curve(second) == [(2, second["val_error_pct"])]
    assert (tmp_path / "0/best.safetensors").exists()
    other = tiny_config.model_copy(update={"seed": 1})
    assert actor.reset_config(trial(other, tmp_path / "1"))
    assert actor.step()["epoch"] == 1
    actor.cleanup()  # a trial that the scheduler stopped is saved, too
    assert (tmp_path / "1/last.safetensors").exists()


def test_step_of_a_resumed_trial_reports_the_epochs_before(
    actor: TrialActor, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    straight = trial(tiny_config, tmp_path / "straight")
    actor.setup(straight)
    expected = curve(actor.step()) + curve(actor.step())
    broken = trial(tiny_config, tmp_path / "broken")
    actor.reset_config(broken)
    actor.step()
    for _ in range(2):  # the second time its last epoch was saved, but not recorded
        actor.reset_config(broken)
        result = actor.step()
        assert curve(result) == expected
        assert result["done"]


def test_step_with_auto_compute_options_chooses_them_by_the_base_config(
    actor: TrialActor, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    open_ended = {"precision": "auto", "channels_last": "auto", "threads": 1}
    base = TrainConfig.model_validate({**tiny_config.model_dump(), "compute": open_ended})
    actor.setup(trial(base, tmp_path / "0"))
    actor.step()
    assert actor._trainer.config.compute.precision in ("bf16", "fp32")
    assert actor._trainer.config.run_id == tiny_config.run_id


def test_step_with_shared_compute_uri_uses_the_options_of_the_first_actor(
    actor: TrialActor, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    shared = str(tmp_path / "compute.json")
    actor.setup(trial(tiny_config, tmp_path / "0", shared_compute_uri=shared))
    actor.step()
    assert actor._trainer.config.compute.threads == 1
    other = tiny_config.compute.model_copy(update={"threads": 2})  # as if it were another machine's
    elsewhere = tiny_config.model_copy(update={"compute": other})
    actor.setup(trial(elsewhere, tmp_path / "1", shared_compute_uri=shared))
    actor.step()
    assert actor._trainer.config.compute.threads == 1


def test_step_that_fails_reports_the_reason(
    actor: TrialActor, tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tiny_config.data.model_copy(update={"train_split": "nowhere"})
    actor.setup(trial(tiny_config.model_copy(update={"data": data}), tmp_path / "0"))
    result = actor.step()
    assert math.isnan(result["val_error_pct"])
    assert result["failure"].startswith("DatasetError:")
    assert "nowhere" in result["traceback"]
    assert result["done"]

    def diverge(run: Trainer) -> None:
        raise TrainingFailed("the loss became nan in epoch 1")

    monkeypatch.setattr(Trainer, "train_epoch", diverge)
    actor.reset_config(trial(tiny_config, tmp_path / "1"))
    result = actor.step()
    assert (result["failure"], "traceback" in result) == ("the loss became nan in epoch 1", False)
    assert result["epochs"] == []


def test_step_of_a_resumed_trial_that_fails_reports_the_epochs_before(
    actor: TrialActor, tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor.setup(trial(tiny_config, tmp_path))
    before = curve(actor.step())

    def diverge(run: Trainer) -> None:
        raise TrainingFailed("the loss became nan in epoch 2")

    monkeypatch.setattr(Trainer, "train_epoch", diverge)
    actor.reset_config(trial(tiny_config, tmp_path))
    assert curve(actor.step()) == before


def test_step_with_failing_storage_halts_the_search(
    actor: TrialActor, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    actor.setup(trial(tiny_config, tmp_path / "0"))
    (tmp_path / "0" / CONFIG_NAME).mkdir()
    result = actor.step()
    assert result["halt"].startswith("IsADirectoryError:")
    assert "failure" not in result


def test_step_without_the_study_on_this_machine_halts_the_search(
    actor: TrialActor, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    actor.setup(trial(tiny_config, tmp_path / "0"))
    (tmp_path / "0" / TRIAL_NAME).unlink()  # as if it had been written on another machine
    halt = actor.step()["halt"]
    assert f"the study is not on this machine ({get_node_ip_address()}): there is no {tmp_path}/0" in halt
    assert "with --study, name a folder that all nodes share, or s3://…" in halt
    assert not (tmp_path / "0" / CONFIG_NAME).exists()


def test_step_measures_the_network_once_per_trial_and_process(
    actor: TrialActor, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    actor.setup(trial(tiny_config, tmp_path / "0", measure_latency=True))
    first, second = actor.step()["metrics"], actor.step()["metrics"]
    assert first["parameters"] == actor._trainer.num_params
    assert 0 < first["latency_ms"] < 10_000
    assert second == {}
    actor.reset_config(trial(tiny_config, tmp_path / "1"))
    assert actor.step()["metrics"].keys() == {"parameters"}


def test_step_with_latency_measurement_trains_the_same(
    actor: TrialActor, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    errors = []
    for name, latency in (("plain", False), ("measured", True)):
        actor.setup(trial(tiny_config, tmp_path / name, measure_latency=latency))
        errors.append(curve(actor.step()) + curve(actor.step()))
    assert errors[0] == errors[1]


def test_reset_config_flushes_the_last_checkpoint_of_a_stopped_trial(
    actor: TrialActor, tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object store is written in the background; if that fails, the next trial stops the search."""
    flushed = []
    monkeypatch.setattr(Trainer, "flush", lambda run: flushed.append(run.out))
    actor.setup(trial(tiny_config, tmp_path / "0"))
    actor.step()
    actor.reset_config(trial(tiny_config, tmp_path / "1"))
    assert flushed == [str(tmp_path / "0")]
    actor.step()
    actor.cleanup()
    assert flushed[1:] == [str(tmp_path / "1")]

    def fail(run: Trainer) -> None:
        raise OSError("the store does not answer")

    monkeypatch.setattr(Trainer, "flush", fail)
    assert actor.reset_config(trial(tiny_config, tmp_path / "2"))
    assert actor.step()["halt"] == "OSError: the store does not answer"
