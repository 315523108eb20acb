from __future__ import annotations

import math

import pytest
from ray.util import get_node_ip_address

from rcn_search import storage
from rcn_search.config.schema import TrainConfig
from rcn_search.search.trial_actor import TrialActor
from rcn_search.study.store import TRIAL_NAME
from rcn_search.training.exit_status import CONFIG_NAME, TrainingFailed
from rcn_search.training.trainer import TrainRun


@pytest.fixture
def actor() -> TrialActor:
    """One that no Ray has started: what Tune calls is the same."""
    return TrialActor.__new__(TrialActor)


def trial(config: TrainConfig, folder: object) -> dict[str, str]:
    """As the driver gives it out, which has written it down before."""
    storage.write_json(storage.join(str(folder), TRIAL_NAME), {})
    return {"folder": str(folder), "train": config.model_dump_json(), "base": config.model_dump_json()}


def curve(result: dict) -> list[tuple[int, float]]:
    return [(epoch["epoch"], epoch["val_error_pct"]) for epoch in result["epochs"]]


def test_a_step_is_an_epoch_and_an_actor_trains_one_trial_after_another(actor, tiny_config, tmp_path):
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
    assert (tmp_path / "1/last.safetensors").exists()


def test_a_trial_is_taken_up_where_it_left_off_and_tells_what_was_before(actor, tiny_config, tmp_path):
    straight = trial(tiny_config, tmp_path / "straight")
    actor.setup(straight)
    expected = curve(actor.step()) + curve(actor.step())
    broken = trial(tiny_config, tmp_path / "broken")
    actor.reset_config(broken)
    actor.step()
    for _ in range(2):  # the second time the last epoch was saved, and its driver died before it heard of it
        actor.reset_config(broken)
        result = actor.step()
        assert curve(result) == expected
        assert result["done"]


def test_compute_options_left_open_are_settled_by_the_model_of_the_study(actor, tiny_config, tmp_path):
    open_ended = {"precision": "auto", "channels_last": "auto", "threads": 1}
    base = TrainConfig.model_validate({**tiny_config.model_dump(), "compute": open_ended})
    actor.setup(trial(base, tmp_path / "0"))
    actor.step()
    assert actor._run.config.compute.precision in ("bf16", "fp32")
    assert actor._run.config.run_id == tiny_config.run_id


def test_a_synchronous_study_has_one_setting_of_compute_options(actor, tiny_config, tmp_path):
    kept = str(tmp_path / "compute.json")
    actor.setup({**trial(tiny_config, tmp_path / "0"), "compute": kept})
    actor.step()
    assert actor._run.config.compute.threads == 1
    other = tiny_config.compute.model_copy(update={"threads": 2})  # as if it were another machine's
    elsewhere = tiny_config.model_copy(update={"compute": other})
    actor.reset_config({**trial(elsewhere, tmp_path / "1"), "compute": kept})
    actor.step()
    assert actor._run.config.compute.threads == 1


def test_a_failed_trial_gives_its_reason(actor, tiny_config, tmp_path, monkeypatch):
    data = tiny_config.data.model_copy(update={"train_split": "nowhere"})
    actor.setup(trial(tiny_config.model_copy(update={"data": data}), tmp_path / "0"))
    result = actor.step()
    assert math.isnan(result["val_error_pct"])
    assert result["failure"].startswith("DatasetError:")
    assert "nowhere" in result["traceback"]
    assert result["done"]

    def diverge(run: TrainRun) -> None:
        raise TrainingFailed("the loss became nan in epoch 1")

    monkeypatch.setattr(TrainRun, "run_epoch", diverge)
    actor.reset_config(trial(tiny_config, tmp_path / "1"))
    result = actor.step()
    assert (result["failure"], "traceback" in result) == ("the loss became nan in epoch 1", False)
    assert result["epochs"] == []


def test_a_trial_that_is_taken_up_and_fails_tells_what_was_before(actor, tiny_config, tmp_path, monkeypatch):
    actor.setup(trial(tiny_config, tmp_path))
    before = curve(actor.step())

    def diverge(run: TrainRun) -> None:
        raise TrainingFailed("the loss became nan in epoch 2")

    monkeypatch.setattr(TrainRun, "run_epoch", diverge)
    actor.reset_config(trial(tiny_config, tmp_path))
    assert curve(actor.step()) == before


def test_storage_that_fails_is_not_the_trials_fault(actor, tiny_config, tmp_path):
    actor.setup(trial(tiny_config, tmp_path / "0"))
    (tmp_path / "0" / CONFIG_NAME).mkdir()
    result = actor.step()
    assert result["halt"].startswith("IsADirectoryError:")
    assert "failure" not in result


def test_a_study_that_is_not_on_this_machine_is_not_the_trials_fault(actor, tiny_config, tmp_path):
    actor.setup(trial(tiny_config, tmp_path / "0"))
    (tmp_path / "0" / TRIAL_NAME).unlink()  # as if it had been written on another machine
    halt = actor.step()["halt"]
    assert f"the study is not on this machine ({get_node_ip_address()}): there is no {tmp_path}/0" in halt
    assert "name a folder that all nodes share, or s3://…, with --study" in halt
    assert not (tmp_path / "0" / CONFIG_NAME).exists()


def test_the_network_is_measured_once_for_each_process(actor, tiny_config, tmp_path):
    actor.setup({**trial(tiny_config, tmp_path / "0"), "latency": True})
    first, second = actor.step()["measured"], actor.step()["measured"]
    assert first["parameters"] == actor._run.num_params
    assert 0 < first["latency_ms"] < 10_000
    assert second == {}
    actor.reset_config(trial(tiny_config, tmp_path / "1"))
    assert actor.step()["measured"].keys() == {"parameters"}


def test_measuring_changes_nothing(actor, tiny_config, tmp_path):
    errors = []
    for name, latency in (("plain", False), ("measured", True)):
        actor.setup({**trial(tiny_config, tmp_path / name), "latency": latency})
        errors.append(curve(actor.step()) + curve(actor.step()))
    assert errors[0] == errors[1]


def test_a_stopped_trial_waits_for_its_last_checkpoint(actor, tiny_config, tmp_path, monkeypatch):
    """Which is put in the background at an object store; when that fails, the next trial stops the search."""
    flushed = []
    monkeypatch.setattr(TrainRun, "flush", lambda run: flushed.append(run.out))
    actor.setup(trial(tiny_config, tmp_path / "0"))
    actor.step()
    actor.reset_config(trial(tiny_config, tmp_path / "1"))
    assert flushed == [str(tmp_path / "0")]
    actor.step()
    actor.cleanup()
    assert flushed[1:] == [str(tmp_path / "1")]

    def fail(run: TrainRun) -> None:
        raise OSError("the store does not answer")

    monkeypatch.setattr(TrainRun, "flush", fail)
    assert actor.reset_config(trial(tiny_config, tmp_path / "2"))
    assert actor.step()["halt"] == "OSError: the store does not answer"
