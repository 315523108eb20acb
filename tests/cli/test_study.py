"""``rcn-search study …``."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from rcn_search.cli import study as cli_study
from rcn_search.config.loading import load_train_config
from rcn_search.study.lease import acquire
from rcn_search.study.study import Study
from tests.conftest import CommandLine
from tests.support.studies import resume_study


@pytest.fixture
def study(play_study):
    """Seven trials that ended and one that has saved an epoch, of twelve."""
    return play_study(num_trials=7, num_open=1)


def files(folder: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_status_shows_counts_best_rungs_and_time(cli: CommandLine, study: Study) -> None:
    before = files(study.uri)
    printed = cli.run("study", "status", study.uri)
    assert printed.startswith(f"tiny {study.uri} ")
    assert "7 of 12 trials ended · 1 open · 3 complete · 2 pruned · 2 failed" in printed
    assert re.search(r"best 16\.00 % trial 0: name rcn, branches 5, .*lr 0\.004", printed)
    assert re.search(r" 1 8 2 19\.00 19\.10 19\.30 19\.50 ", printed)
    assert "1 min 13 s of training in 21 epochs not running: 5 trials left; tune --resume runs them" in printed
    assert files(study.uri) == before


def test_status_of_a_running_study_shows_its_process(cli: CommandLine, study: Study) -> None:
    with acquire(study.uri, study_settings(study), on_status=print):
        printed = cli.run("study", "status", study.uri)
    assert "1 running" in printed
    assert re.search(
        rf"running in process {os.getpid()} on \S+ for \d+ s, about \d+ s left \(heartbeat \d+ s ago\)", printed
    )


def study_settings(study) -> dict:
    return json.loads((Path(study.uri) / "study.json").read_text())["settings"]


def test_status_follow_ends_with_the_last_trial(
    cli: CommandLine, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed, pauses_s = resume_study(study.uri, study.config, data_fingerprint="drawn"), []

    def finish_one(seconds: float) -> None:
        pauses_s.append(seconds)
        if trial := resumed.ask():
            resumed.finish(trial.number, "failed", reason="enough")

    monkeypatch.setattr(cli_study, "time", SimpleNamespace(monotonic=time.monotonic, sleep=finish_one))
    assert "12 of 12 trials ended" in cli.run("study", "status", study.uri, "--follow")
    assert len(pauses_s) == 5 + 1
    assert min(pauses_s) >= cli_study.FOLLOW_INTERVAL_S


def test_trials_filters_sorts_and_formats(cli: CommandLine, study: Study) -> None:
    printed = cli.run("study", "trials", study.uri, "--state", "failed")
    assert re.fullmatch(r"trial error % .*parameters 2 .*the loss became nan 5 .*the loss became nan", printed)
    ranked = json.loads(cli.run("study", "trials", study.uri, "--sort", "error", "--format", "json", "--limit", 3))
    assert [(trial["trial"], trial["error_pct"], trial["state"]) for trial in ranked] == [
        (0, 16.0, "complete"),
        (3, 16.3, "complete"),
        (6, 16.6, "complete"),
    ]
    assert ranked[0]["optimizer.lr"] == 0.004
    line = ("study", "trials", study.uri, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(cli.run(*line).replace(" ", "\n"))))
    assert [row["trial"] for row in rows] == [str(number) for number in range(8)]
    assert rows[7]["state"] == "open"


def test_best_shows_the_trial_and_prints_a_config_for_train(cli: CommandLine, study: Study, tmp_path: Path) -> None:
    printed = cli.run("study", "best", study.uri)
    assert printed.startswith("trial 0, complete: 16.00 % after 4 epochs, 14 s model.name rcn ")
    assert "19.00 ┤████" in printed
    assert f"→ {study.trials[0].folder}/best.safetensors" in printed
    config = subprocess.run(
        [sys.executable, "-m", "rcn_search", "study", "best", study.uri, "--trial", "3", "--config"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    (tmp_path / "best.yaml").write_text(config)
    assert load_train_config(str(tmp_path / "best.yaml")).run_id == study.trials[3].run_id


def test_export_prints_the_files_that_it_wrote(cli: CommandLine, study: Study, tmp_path: Path) -> None:
    assert cli.run("study", "export", study.uri, "--to", "a.csv") == "→ a.csv → a-epochs.csv"
    assert (tmp_path / "a.csv").read_text().startswith('"trial","state",')
    assert "must end in .journal" in cli.fail("study", "export", study.uri, "--to", "a.txt")


def test_study_commands_name_what_is_missing_or_damaged_and_show_the_rest(
    cli: CommandLine, study: Study, play_study: Callable[..., Study], tmp_path: Path
) -> None:
    for verb in ("status", "trials", "best"):
        assert "no study at /nowhere" in cli.fail("study", verb, "/nowhere")
    assert "has no trial 8" in cli.fail("study", "best", study.uri, "--trial", 8)
    (Path(study.trials[7].folder) / "history.json").write_text('[{"epoch": 1}]')
    assert "000007/history.json is damaged" in cli.warn("study", "status", study.uri)
    (Path(study.trials[3].folder) / "result.json").write_text("{")
    for verb in ("status", "trials", "best"):
        assert "000003/result.json is damaged" in cli.warn("study", verb, study.uri)
    assert "000003/result.json is damaged" in cli.fail("study", "best", study.uri, "--trial", 3)
    empty = play_study(str(tmp_path / "empty"), num_trials=0)
    assert "no trial of " in cli.fail("study", "best", empty.uri)
    assert "0 of 12 trials ended no trial is complete yet" in cli.run("study", "status", empty.uri)


def test_cli_study_import_is_fast() -> None:
    code = "import sys, rcn_search.cli.study; print({'torch', 'ray', 'optuna', 'pyarrow'} & sys.modules.keys())"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed == "set()\n"
