from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import optuna
import pyarrow.csv
import pyarrow.parquet
import pytest
from optuna.trial import TrialState

from rcn_search import storage
from rcn_search.study.snapshot import open_study
from rcn_search.study_report.export import export
from rcn_search.study_report.optuna_export import frozen_trials, in_memory

PATIENCE_S = 60


@pytest.fixture
def study(play_study):
    """Twelve trials that ended and one that has saved an epoch."""
    return open_study(play_study(num_trials=12, num_open=1, budget={"trials": 14}).uri)


def loaded(path: Path) -> optuna.Study:
    return optuna.load_study(study_name="tiny", storage=f"sqlite:///{path}")


def test_optuna_reads_the_database_as_the_study_is(study, tmp_path):
    assert export(study, str(tmp_path / "study.db")) == [str(tmp_path / "study.db")]
    copy = loaded(tmp_path / "study.db")
    assert copy.trials == frozen_trials(study)
    assert [known(trial) for trial in in_memory(study).trials] == [known(trial) for trial in copy.trials]
    assert [each.number for each in copy.trials] == list(range(13))
    complete, pruned, failed = copy.trials[3:6]
    assert (complete.state, complete.value) == (TrialState.COMPLETE, study.trials[3].error_pct)
    assert (pruned.state, pruned.value, pruned.last_step) == (TrialState.PRUNED, 18.4, 2)
    assert (failed.state, failed.value, failed.user_attrs["reason"]) == (TrialState.FAIL, None, "the loss became nan")
    assert (copy.trials[12].state, copy.trials[12].intermediate_values) == (TrialState.RUNNING, {1: 19.5})
    assert copy.best_trial.number == study.best.number
    for trial, its_copy in zip(study.trials, copy.trials, strict=True):
        assert its_copy.params == trial.suggestion.params
        assert its_copy.user_attrs["run_id"] == trial.suggestion.run_id
    written_by_optuna = optuna.create_study(study_name="tiny", storage=f"sqlite:///{tmp_path / 'slow.db'}")
    written_by_optuna.add_trials(frozen_trials(study))
    assert rows(tmp_path / "study.db") == rows(tmp_path / "slow.db")


def known(trial: optuna.trial.FrozenTrial) -> dict:
    """All but its row in a database."""
    return {key: value for key, value in vars(trial).items() if key != "_trial_id"}


def rows(path: Path) -> dict[str, list[tuple]]:
    """All that there is about trials, without the rows' own numbers."""
    tables = ("trials", "trial_params", "trial_values", "trial_intermediate_values", "trial_user_attributes")
    connection = sqlite3.connect(path)
    return {table: sorted(row[1:] for row in connection.execute(f"SELECT * FROM {table}")) for table in tables}


def test_times_are_those_of_the_ledger_or_else_only_durations(study):
    first = study.trials[0]
    assert frozen_trials(study)[0].datetime_start.timestamp() == pytest.approx(first.suggestion.at, abs=1e-3)
    first.suggestion = first.suggestion.model_copy(update={"at": None})
    first.outcome = first.outcome.model_copy(update={"at": None})
    assert frozen_trials(study)[0].duration.total_seconds() == 4 * 3.5


def test_several_objectives(play_study, tmp_path):
    study = open_study(play_study(num_trials=3, objectives=["error", "train_time"]).uri)
    export(study, str(tmp_path / "study.db"))
    copy = loaded(tmp_path / "study.db")
    assert [trial.values for trial in copy.trials] == [[16.0, 8.0], None, None]
    assert copy.metric_names == ["error", "train_time"]


def test_optuna_dashboard_shows_the_database(study, tmp_path):
    export(study, str(tmp_path / "study.db"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("optuna-dashboard")
    line = [program, f"sqlite:///{tmp_path / 'study.db'}", "--host", "127.0.0.1", "--port", str(port)]
    dashboard = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        (summary,) = fetch(f"http://127.0.0.1:{port}/api/studies", dashboard)["study_summaries"]
        assert summary["study_name"] == "tiny"
        shown = fetch(f"http://127.0.0.1:{port}/api/studies/{summary['study_id']}?after=0", dashboard)
        states = [trial["state"] for trial in shown["trials"]]
        assert states == ["Complete", "Pruned", "Fail"] * 4 + ["Running"]
        assert shown["best_trials"][0]["number"] == study.best.number
        for trial, its_copy in zip(study.trials, shown["trials"], strict=True):
            assert {each["name"]: each["param_external_value"] for each in its_copy["params"]} == {
                name: str(value) for name, value in trial.suggestion.params.items()
            }
            assert [each["value"] for each in its_copy["intermediate_values"]] == [
                epoch.val_error_pct for epoch in trial.epochs.values()
            ]
    finally:
        dashboard.terminate()
        dashboard.wait()


def fetch(url: str, server: subprocess.Popen) -> dict:
    """The JSON at ``url``, once the server has started."""
    deadline = time.monotonic() + PATIENCE_S
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
def test_tables(study, tmp_path, place, suffix):
    folder = str(tmp_path) if place == "file" else f"memory://{uuid.uuid4().hex}"
    written = export(study, f"{folder}/study{suffix}")
    assert written == [f"{folder}/study{suffix}", f"{folder}/study-epochs{suffix}"]
    trials, epochs = (read(uri) for uri in written)
    assert trials["trial"].to_pylist() == list(range(13))
    assert trials["state"].to_pylist() == [trial.state for trial in study.trials]
    assert trials["error_pct"].to_pylist() == [trial.error_pct for trial in study.trials]
    assert trials["busy_s"].to_pylist() == [14.0, 7.0, 7.0] * 4 + [3.0]
    for name in ("optimizer.lr", "model.channels[0]"):
        drawn = [trial.suggestion.params.get(name) for trial in study.trials]
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


def test_a_study_without_a_trial(play_study, tmp_path):
    study = open_study(play_study(num_trials=0).uri)
    for name in ("study.db", "study.csv", "study.parquet"):
        export(study, str(tmp_path / name))
    assert loaded(tmp_path / "study.db").trials == []
    assert read(str(tmp_path / "study-epochs.parquet")).num_rows == 0


def test_an_unknown_suffix_is_refused(study, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.db, "):
        export(study, str(tmp_path / "study.xlsx"))
    assert not list(tmp_path.glob("study.xlsx*"))
