"""Searches through real Ray, real training and real kills."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from rcn_search.config.errors import ConfigError
from rcn_search.leaderboard.table import build_leaderboard
from rcn_search.study.records import StudyError
from rcn_search.study.study import Study
from tests.support.searches import on_trial_results, search, write_tiny_study

HELD_TUNE = Path(__file__).parent / "held_tune.py"
NUM_EPOCHS = 6
POLL_S = 0.02
PATIENCE_S = 180


def table(study: Study) -> list[tuple]:
    """State, parameters and errors of all trials, without times."""
    return [
        (trial.state, trial.params, [epoch.val_error_pct for epoch in trial.epochs.values()]) for trial in study.trials
    ]


def test_run_search_evaluates_the_best_trial_and_resumes_without_repeating(
    ray_cluster: None, synthetic_uri: str, tmp_path: Path
) -> None:
    path = write_tiny_study(tmp_path, synthetic_uri, test={"split": "test", "method": "the best of four"})
    result, text = search(path, tmp_path)
    study = result.study

    assert [trial.state for trial in study.trials] == ["complete", "pruned", "failed", "complete"]
    assert [len(trial.epochs) for trial in study.trials] == [3, 1, 0, 3]
    assert "has no split 'nowhere'" in study.trials[2].result.reason
    assert "has no split 'nowhere'" in text
    assert all(trial.state.is_finished() for trial in study._optuna.trials)
    assert table(Study(study.uri, study.config)) == table(study)

    best = min(trial.error_pct for trial in study.trials if trial.state == "complete")
    assert study.best_trial.error_pct == best
    assert result.test_result.trial == study.best_trial.number
    assert Path(result.test_result.checkpoint).parent == Path(study.best_trial.folder)
    rows = [
        row for each in build_leaderboard(str(tmp_path / "board")).tables for row in each.rows if row.origin == "ours"
    ]
    assert {row.method for row in rows} == {"the best of four"}
    assert {round(row.error_pct, 6) for row in rows} == {
        round(each, 6) for each in result.test_result.errors_pct.values()
    }

    summary = result.summary
    assert summary.slots == 1
    epochs = [epoch for trial in study.trials for epoch in trial.epochs.values()]
    assert summary.busy_s == pytest.approx(sum(epoch.train_s + epoch.val_s for epoch in epochs))
    assert 0 < summary.busy_s < summary.wall_s
    assert f"overhead {summary.overhead_pct:.1f} %" in text

    with pytest.raises(StudyError, match="resume it with --resume"):
        search(path, tmp_path)
    before = files(study)
    again, _ = search(path, tmp_path, resume=True)
    assert again.test_result == result.test_result
    assert files(study) == before

    more, _ = search(path, tmp_path, resume=True, overrides=("budget.trials=5",))
    assert len(more.study.trials) == 5
    assert more.test_result == result.test_result


def fingerprint(study: Study) -> str:
    return str(json.loads(Path(study.uri, "study.json").read_text())["data_fingerprint"])


def files(study: Study) -> dict[Path, bytes]:
    """Contents of all files of a study but its leases."""
    paths = (path for path in Path(study.uri).rglob("*") if path.is_file() and "leases" not in path.parts)
    return {path: path.read_bytes() for path in paths}


@pytest.mark.timeout(480)
def test_run_search_resumes_after_sigterm_and_after_its_process_is_killed(
    ray_cluster: None, synthetic_uri: str, tmp_path: Path
) -> None:
    budget = {"trials": 2, "epochs": NUM_EPOCHS, "max_concurrent": 1}
    changes = {
        "search": {"optimizer.lr": {"float": [1e-3, 1e-2]}},
        "initial_trials": [],
        "budget": budget,
        "scheduler": {"name": "none"},
    }
    straight, disturbed = tmp_path / "straight", tmp_path / "disturbed"
    for folder in (straight, disturbed):
        folder.mkdir()
        path = write_tiny_study(folder, synthetic_uri, **changes)
    undisturbed, _ = search(str(straight / "study.yaml"), straight)

    with driving(path, disturbed, held=0) as first:  # with a Ray of its own
        wait_for_epoch(first, 0, disturbed)
        first.send_signal(signal.SIGTERM)
        text, _ = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 130, text
    assert "--resume" in text

    address = ray.get_runtime_context().gcs_address
    with driving(path, disturbed, "--resume", held=1, RAY_ADDRESS=address) as second:
        wait_for_epoch(second, 1, disturbed)
        with pytest.raises(StudyError, match=f"process {second.pid} on .* is running"):
            search(path, disturbed, resume=True)
        assert second.poll() is None

    finished = (disturbed / "study/trials/000000/result.json").read_bytes()
    opened = (disturbed / "study/trials/000001/trial.json").read_bytes()
    done = json.loads((disturbed / "study/trials/000001/history.json").read_text())
    assert 0 < len(done) < NUM_EPOCHS
    resumed, text = search(path, disturbed, resume=True)
    assert f"process {second.pid} on" in text
    assert "is gone: its lease is taken over" in text
    assert table(resumed.study) == table(undisturbed.study)
    taken_up = list(resumed.study.trials[1].epochs.values())
    assert [each.train_s for each in taken_up[: len(done)]] == [each["train_s"] for each in done], "trained again"
    assert (disturbed / "study/trials/000000/result.json").read_bytes() == finished
    assert (disturbed / "study/trials/000001/trial.json").read_bytes() == opened


@pytest.mark.timeout(480)
def test_run_search_deterministic_gives_the_same_trials_on_one_slot_and_two(
    ray_cluster: None, synthetic_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {
        "search": {"optimizer.lr": {"float": [1e-7, 1e-1], "log": True}},
        "initial_trials": [],
        "budget": {"trials": 5, "epochs": 3, "max_concurrent": "auto"},
        "sampler": {"name": "tpe", "num_startup_trials": 2},
    }
    tables: list[list[tuple]] = []
    processes: set[int] = set()
    on_trial_results(monkeypatch, lambda result: processes.add(result["pid"]))
    for slots in (2, 1):
        processes.clear()
        folder = tmp_path / str(slots)
        folder.mkdir()
        path = write_tiny_study(folder, synthetic_uri, **changes)
        with pytest.raises(ConfigError, match=r"--deterministic needs a fixed batch size: set budget\.max_concurrent"):
            search(path, folder, deterministic=True)
        overrides = (f"budget.max_concurrent={slots}", *(("study.trial_batch_size=2",) if slots == 1 else ()))
        result, text = search(path, folder, overrides=overrides, deterministic=True)
        assert (result.summary.slots, len(re.findall(r"^trial +\d", text, re.MULTILINE))) == (slots, 5), text
        assert len(processes) <= slots, "a process served one round only"  # one may do all before another is there
        assert (folder / "study/compute.json").exists()
        tables.append(table(result.study))
    assert tables[0] == tables[1]
    assert {state for state, *_ in tables[0]} == {"complete", "pruned"}


@contextlib.contextmanager
def driving(path: str, folder: Path, *options: str, held: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``rcn-search tune`` in a process that waits in the last epoch of trial ``held``; it is killed at the end."""
    line = [sys.executable, str(HELD_TUNE), str(held), str(NUM_EPOCHS - 1), path, "--study", str(folder / "study")]
    environment = {**os.environ, **environment}
    with subprocess.Popen(
        [*line, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as driver:
        try:
            yield driver
        finally:
            driver.kill()


def wait_for_epoch(driver: subprocess.Popen[str], number: int, folder: Path) -> None:
    trial = folder / "study/trials" / f"{number:06d}"
    deadline = time.monotonic() + PATIENCE_S
    while not (trial / "history.json").exists():
        assert time.monotonic() < deadline
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(POLL_S)


def test_run_search_continues_a_killed_trial_in_a_new_process_and_retrains_the_best(
    ray_cluster: None, synthetic_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny_study(
        tmp_path,
        synthetic_uri,
        search={"optimizer.lr": {"float": [1e-2, 2e-2]}},
        initial_trials=[],
        budget={"trials": 1, "epochs": 4},
        scheduler={"name": "none"},
        test={"split": "test", "method": "again", "retrain": {"schedule.epochs": 2, "data.num_train": 32}},
    )
    epochs, processes = [], []

    def kill_after_two(result: dict[str, Any]) -> None:
        epochs.append(result["epoch"])
        processes.append(result["pid"])
        if len(epochs) == 2:
            os.kill(result["pid"], signal.SIGKILL)

    on_trial_results(monkeypatch, kill_after_two)
    result, text = search(path, tmp_path)
    (trial,) = result.study.trials
    assert trial.state == "complete", text
    assert sorted(trial.epochs) == epochs == [1, 2, 3, 4]
    assert processes[0] == processes[1] != processes[2] == processes[3]

    assert result.test_result.checkpoint == str(tmp_path / "study/test/best.safetensors")
    again = json.loads((tmp_path / "study/test/config.json").read_text())["config"]
    assert (again["schedule"]["epochs"], again["data"]["num_train"]) == (2, 32)
    assert again["optimizer"] == trial.config.optimizer.model_dump()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("base.data.uri=/nowhere", "no data set at /nowhere"),
        ("base.data.val_split=valid", "base.data.val_split: .* has no split 'valid'; it has: train, val, test"),
        ("base.data.num_train=97", "base.data.train_split: 97 rows of 'train' wanted; it has 96"),
        ("test={split: aflw, method: x}", "test.split: .* has no split 'aflw'"),
    ],
)
def test_run_search_with_missing_splits_or_rows_fails_before_the_study_is_created(
    synthetic_uri: str, tmp_path: Path, override: str, message: str
) -> None:
    path = write_tiny_study(tmp_path, synthetic_uri)
    with pytest.raises(ValueError, match=message):
        search(path, tmp_path, overrides=(override,))
    assert not (tmp_path / "study").exists()
