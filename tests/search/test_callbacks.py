from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from pydantic import ValidationError
from ray.tune import Callback
from tensorboardX.proto.event_pb2 import Event

from rcn_search import storage
from rcn_search.search.callbacks import TrialCallbackAdapter, build_callbacks
from rcn_search.search.open_or_resume import check_callback_packages
from rcn_search.search.tensorboard import TensorBoard
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import EpochResult
from rcn_search.study.space.sections import CallbackOptions
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial


@pytest.fixture(params=["file", "memory"])
def study(request, write_study, tmp_path) -> Study:
    uri = str(tmp_path / "study") if request.param == "file" else f"memory://{uuid.uuid4().hex}"
    return Study.start(uri, load_study_config(write_study()), "f")


def report(study: Study, number: int, *epochs: int) -> None:
    for each in epochs:
        error = 20.0 - each
        epoch = EpochResult(epoch=each, loss=1.5, val_error_pct=error, best_error_pct=error, train_s=2.0, val_s=1.0)
        study.report(number, [epoch])


def tune_trial(trial: Trial) -> SimpleNamespace:
    return SimpleNamespace(config={"number": trial.number, "spec": None}, trial_id=f"t{trial.number}")


def events(trial: Trial) -> list[list[Event]]:
    """All events of a trial's event files, by file, oldest first."""
    names = [name for name in storage.list_names(trial.folder) if name.startswith("events.out.tfevents.")]
    return [records(storage.read_bytes(storage.join(trial.folder, name))) for name in names]


def records(content: bytes) -> list[Event]:
    """TensorFlow's record format: length, its checksum, the record, its checksum."""
    events_read = []
    while content:
        length = int.from_bytes(content[:8], "little")
        events_read.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return events_read


def scalars(found: list[Event]) -> list[tuple[int, str, float]]:
    values = [(event.step, value) for event in found for value in event.summary.value]
    return [(step, value.tag, value.simple_value) for step, value in values if not value.tag.startswith("_hparams_")]


def test_tensorboard_writes_each_epoch_once_and_the_parameters(study: Study) -> None:
    board, trial = TensorBoard(study), study.ask()
    report(study, trial.number, 1, 2)
    board.on_trial_result(0, [], tune_trial(trial), {})
    (so_far,) = events(trial)  # while it runs
    assert {step for step, _, _ in scalars(so_far)} == {1, 2}
    report(study, trial.number, 3)
    board.on_trial_result(0, [], tune_trial(trial), {})
    study.finish(trial.number, "pruned")
    board.on_trial_complete(0, [], tune_trial(trial))
    (found,) = events(trial)
    assert scalars(found) == [
        (step, name, value)
        for step in (1, 2, 3)
        for name, value in (("val_error_pct", 20.0 - step), ("best_error_pct", 20.0 - step), ("loss", 1.5))
    ]
    drawn = b"".join(value.metadata.plugin_data.content for event in found for value in event.summary.value)
    assert b"optimizer.lr" in drawn


def test_tensorboard_of_a_resumed_trial_purges_and_rewrites_its_epochs(
    study: Study, write_study: Callable[..., str]
) -> None:
    before = study.ask()
    report(study, before.number, 1, 2)
    TensorBoard(study).on_trial_result(0, [], tune_trial(before), {})
    resumed = Study(study.uri, study.config)
    trial = resumed.ask()
    report(resumed, trial.number, 1, 2, 3)
    board = TensorBoard(resumed)
    board.on_trial_result(0, [], tune_trial(trial), {})
    resumed.finish(trial.number, "complete")
    board.on_trial_complete(0, [], tune_trial(trial))
    *_, last = events(trial)
    assert [event.session_log.status for event in last if event.HasField("session_log")] == [1]  # START
    assert {event.step for event in last if event.HasField("session_log")} == {1}
    assert [step for step, tag, _ in scalars(last) if tag == "loss"] == [1, 2, 3]


def test_tensorboard_of_a_trial_without_epochs_writes_no_file(study: Study) -> None:
    trial = study.ask()
    study.finish(trial.number, "failed", reason="out of memory")
    TensorBoard(study).on_trial_error(0, [], tune_trial(trial))
    assert events(trial) == []


def test_tensorboard_on_a_full_disk_warns_once(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    board, trial = TensorBoard(study), study.ask()
    report(study, trial.number, 1)

    def full(prefix: str) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("rcn_search.search.tensorboard.EventsWriter", full)
    with pytest.warns(UserWarning, match="gets no more event files"):
        board.on_trial_result(0, [], tune_trial(trial), {})
    with warnings.catch_warnings(record=True) as more:
        board.on_trial_result(0, [], tune_trial(trial), {})
    assert more == []


class Listener(Callback):
    """Notes its events."""

    def __init__(self) -> None:
        self.events: list[tuple] = []
        self.broken = False

    def on_trial_start(self, iteration, trials, trial, **info):
        self.events.append(("start", trial, trial.trial_id, trial.config))

    def on_trial_result(self, iteration, trials, trial, result, **info):
        if self.broken:
            raise ConnectionError("no route to host")
        self.events.append(("result", trial, result))

    def on_trial_complete(self, iteration, trials, trial, **info):
        self.events.append(("complete", trial))


def test_adapter_passes_on_parameters_and_numbers_of_the_last_epoch(study: Study) -> None:
    listener, trial = Listener(), study.ask()
    shown, ray_trial = TrialCallbackAdapter(listener, study), tune_trial(trial)
    shown.on_trial_start(0, [], ray_trial)
    epochs = [{"epoch": 3, "val_error_pct": 7.0, "loss": 1.0}, {"epoch": 4, "val_error_pct": 6.0, "loss": float("nan")}]
    shown.on_trial_result(0, [], ray_trial, {"epochs": epochs, "val_error_pct": 6.0, "complete": False})
    shown.on_trial_result(0, [], ray_trial, {"failure": "the loss became nan", "done": True})
    shown.on_trial_complete(0, [], ray_trial)
    (start, seen, identity, config), (_, same, result), (_, still) = listener.events
    assert (start, identity) == ("start", "t0")
    assert config == study.config.initial_trials[0]
    assert seen is same is still
    assert result == {"val_error_pct": 6.0, "training_iteration": 4}


def test_adapter_gives_a_broken_tool_no_more_events(study: Study) -> None:
    listener, trial = Listener(), study.ask()
    shown, ray_trial = TrialCallbackAdapter(listener, study), tune_trial(trial)
    listener.broken = True
    with pytest.warns(UserWarning, match="Listener gets no more events: ConnectionError: no route to host"):
        shown.on_trial_result(0, [], ray_trial, {"epochs": [{"epoch": 1, "loss": 1.0}]})
    shown.on_trial_complete(0, [], ray_trial)
    assert listener.events == []


def test_build_callbacks_has_tensorboard_by_default(study: Study) -> None:
    assert [type(each) for each in build_callbacks(CallbackOptions(), study)] == [TensorBoard]
    assert build_callbacks(CallbackOptions(tensorboard=False), study) == []


def test_check_callback_packages_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_callback_packages(CallbackOptions())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, options in (("mlflow", {}), ("wandb", {"project": "rcn"})):
        with pytest.raises(ValueError, match=rf"callbacks.{name}: .* pip install 'rcn-search\[{name}\]'"):
            check_callback_packages(CallbackOptions.model_validate({name: options}))


@pytest.mark.parametrize("section", ["mlflow", "wandb"])
def test_callback_options_with_a_secret_are_refused(section: str) -> None:
    for key in ("api_key", "tracking_token", "password"):
        with pytest.raises(ValidationError, match=key):
            CallbackOptions.model_validate({section: {"project": "rcn", key: "1234"}})
