"""Exports of a study: journal of Optuna, tables."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import optuna
import pyarrow.csv
import pyarrow.parquet
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.study.snapshot import open_study
from rcn_search.study.study import Study
from rcn_search.study_report.export import csv_bytes, export
from rcn_search.study_report.optuna_export import frozen_trials, in_memory

TIMEOUT_S = 60


@pytest.fixture
def study(play_study: Callable[..., Study]) -> Study:
    """Twelve trials that ended and one that has saved an epoch."""
    return open_study(play_study(num_trials=12, num_open=1, budget={"trials": 14}).uri)


def load_journal(path: Path) -> optuna.Study:
    return optuna.load_study(study_name="tiny", storage=JournalStorage(JournalFileBackend(str(path))))


@pytest.mark.parametrize("suffix", [".journal", ".log"])
def test_export_journal_is_read_by_optuna_as_the_study_is(study: Study, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"study{suffix}"
    assert export(study, str(path)) == [str(path)]
    copy = load_journal(path)
    assert [fields(trial) for trial in copy.trials] == [fields(trial) for trial in frozen_trials(study)]
    assert [fields(trial) for trial in in_memory(study).trials] == [fields(trial) for trial in copy.trials]
    assert [trial.number for trial in copy.trials] == list(range(13))
    complete, pruned, failed = copy.trials[3:6]
    assert (complete.state, complete.value) == (TrialState.COMPLETE, study.trials[3].error_pct)
    assert (pruned.state, pruned.value, pruned.last_step) == (TrialState.PRUNED, 18.4, 2)
    assert (failed.state, failed.value, failed.user_attrs["reason"]) == (TrialState.FAIL, None, "the loss became nan")
    assert (copy.trials[12].state, copy.trials[12].intermediate_values) == (TrialState.RUNNING, {1: 19.5})
    assert copy.best_trial.number == study.best_trial.number
    for trial, trial_copy in zip(study.trials, copy.trials, strict=True):
        assert trial_copy.params == trial.params
        assert trial_copy.user_attrs["run_id"] == trial.run_id


def test_export_journal_equals_the_one_that_optuna_writes_trial_by_trial(study: Study, tmp_path: Path) -> None:
    export(study, str(tmp_path / "study.journal"))
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "slow.journal")))
    written_by_optuna = optuna.create_study(study_name="tiny", storage=storage)
    written_by_optuna.add_trials(frozen_trials(study))
    creations = [created_trials(tmp_path / name) for name in ("study.journal", "slow.journal")]
    assert creations[0] == creations[1]
    assert len(creations[0]) == 13


def created_trials(path: Path) -> list[dict[str, Any]]:
    """Records of a journal that create a trial, without the name of the process that wrote them."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        {key: value for key, value in record.items() if key != "worker_id"} for record in records if "params" in record
    ]


def fields(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    """All fields of a trial but its identity in a storage; times in UTC."""
    document = {key: value for key, value in vars(trial).items() if key != "_trial_id"}
    times = ("_datetime_start", "datetime_start", "datetime_complete")
    return document | {key: document[key].astimezone(UTC) for key in times if document.get(key)}


def test_export_times_are_those_of_the_study_store_or_else_durations(study: Study) -> None:
    first = study.trials[0]
    assert frozen_trials(study)[0].datetime_start.timestamp() == pytest.approx(first.record.created_at, abs=1e-3)
    first.record = first.record.model_copy(update={"created_at": None})
    first.result = first.result.model_copy(update={"ended_at": None})
    assert frozen_trials(study)[0].duration.total_seconds() == 4 * 3.5


def test_export_journal_of_several_objectives_has_all_values(play_study: Callable[..., Study], tmp_path: Path) -> None:
    study = open_study(play_study(num_trials=3, objectives=["error", "train_time"]).uri)
    export(study, str(tmp_path / "study.journal"))
    copy = load_journal(tmp_path / "study.journal")
    assert [trial.values for trial in copy.trials] == [[16.0, 8.0], None, None]
    assert copy.metric_names == ["error", "train_time"]


def test_optuna_dashboard_opens_the_exported_journal(study: Study, tmp_path: Path) -> None:
    export(study, str(tmp_path / "study.journal"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("optuna-dashboard")
    line = [program, str(tmp_path / "study.journal"), "--host", "127.0.0.1", "--port", str(port)]
    dashboard = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        (summary,) = fetch(f"http://127.0.0.1:{port}/api/studies", dashboard)["study_summaries"]
        assert summary["study_name"] == "tiny"
        shown = fetch(f"http://127.0.0.1:{port}/api/studies/{summary['study_id']}?after=0", dashboard)
        states = [trial["state"] for trial in shown["trials"]]
        assert states == ["Complete", "Pruned", "Fail"] * 4 + ["Running"]
        assert shown["best_trials"][0]["number"] == study.best_trial.number
        for trial, trial_copy in zip(study.trials, shown["trials"], strict=True):
            assert {each["name"]: each["param_external_value"] for each in trial_copy["params"]} == {
                name: str(value) for name, value in trial.params.items()
            }
            assert [each["value"] for each in trial_copy["intermediate_values"]] == [
                epoch.val_error_pct for epoch in trial.epochs.values()
            ]
    finally:
        dashboard.terminate()
        dashboard.wait()


def fetch(url: str, server: subprocess.Popen) -> dict:
    """The JSON at ``url``, once the server has started."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(url) as response:
                return json.load(response)
        except urllib.error.URLError:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("place", ["file", "memory"])
def test_export_tables_have_all_trials_and_epochs(study: Study, tmp_path: Path, place: str, suffix: str) -> None:
    folder = str(tmp_path) if place == "file" else f"memory://{uuid.uuid4().hex}"
    written = export(study, f"{folder}/study{suffix}")
    assert written == [f"{folder}/study{suffix}", f"{folder}/study-epochs{suffix}"]
    trials, epochs = (read(uri) for uri in written)
    assert trials["trial"].to_pylist() == list(range(13))
    assert trials["state"].to_pylist() == [trial.state for trial in study.trials]
    assert trials["error_pct"].to_pylist() == [trial.error_pct for trial in study.trials]
    assert trials["busy_s"].to_pylist() == [14.0, 7.0, 7.0] * 4 + [3.0]
    for name in ("optimizer.lr", "model.channels[0]"):
        drawn = [trial.params.get(name) for trial in study.trials]
        assert any(value is None for value in drawn) == (name == "model.channels[0]")
        if name == "model.channels[0]":  # "paper" or 16: as words
            drawn = ["" if value is None and suffix == ".csv" else value and str(value) for value in drawn]
        assert trials[name].to_pylist() == drawn
    assert trials["optimizer.lr"].type == "double"
    assert len(epochs) == 12 / 3 * (4 + 2 + 2) + 1
    assert epochs.slice(0, 1).to_pylist() == [{"trial": 0, **study.trials[0].epochs[1].model_dump()}]


def read(uri: str) -> pyarrow.Table:
    content = pyarrow.BufferReader(storage.read_bytes(uri))
    return (pyarrow.csv.read_csv if uri.endswith(".csv") else pyarrow.parquet.read_table)(content)


def test_export_of_a_study_without_trials_is_empty(play_study: Callable[..., Study], tmp_path: Path) -> None:
    study = open_study(play_study(num_trials=0).uri)
    for name in ("study.journal", "study.csv", "study.parquet"):
        export(study, str(tmp_path / name))
    assert load_journal(tmp_path / "study.journal").trials == []
    assert read(str(tmp_path / "study-epochs.parquet")).num_rows == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [("study.xlsx", r"must end in \.journal, "), ("study.db", r"cannot export to \.db; name it STUDY\.journal")],
)
def test_export_to_an_unknown_suffix_is_refused(study: Study, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(RcnSearchError, match=message):
        export(study, str(tmp_path / name))
    assert not list(tmp_path.glob(f"{name}*"))


def test_export_journal_is_written_at_once_not_trial_by_trial(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_logs: list[int] = []
    append_logs = JournalFileBackend.append_logs

    def count_and_append(backend: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        num_logs.append(len(logs))
        append_logs(backend, logs)

    monkeypatch.setattr(JournalFileBackend, "append_logs", count_and_append)
    export(study, str(tmp_path / "study.journal"))
    assert len(num_logs) == 1, "each call takes a lock and waits for the disk"
    assert num_logs[0] > len(study.trials)


def test_csv_bytes_holds_no_formula_and_no_control_character() -> None:
    reasons = ["=1+1", None, "-3", "the \x1b[2J loss", "@x"]
    table = pyarrow.table({"reason": reasons, "=lr": [1.5, -2.0, None, 4.0, 5.0]})
    assert csv_bytes(table).decode().splitlines() == [
        *('"reason","\'=lr"', '"\'=1+1",1.5', ",-2", '"-3",', '"the \\x1b[2J loss",4', '"\'@x",5')
    ]
