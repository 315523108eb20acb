"""SIGKILL to the search process, a worker or all of Ray, at random moments, again and again, until the search ends.

``RCN_SEARCH_KILLS=50 pytest -s tests/kills`` kills fifty times in each mode, by default a few times.
"""

from __future__ import annotations

import json
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rcn_search import storage
from rcn_search.study.study import Study

SCRIPT_PATH = Path(__file__).parent / "scripted_search.py"
SCRIPT = runpy.run_path(str(SCRIPT_PATH))
NUM_TRIALS, NUM_EPOCHS = 16, 4
NUM_KILLS = int(os.environ.get("RCN_SEARCH_KILLS", "6"))
SEED = int(os.environ.get("RCN_SEARCH_KILL_SEED", "0"))
MAX_WORKERS_KILLED = 2
"""Kills of workers in one search process, which rightly fails a trial whose process dies more often."""
TIMEOUT_S = 120


class KilledSearch:
    """Search processes of one study, one after another, and the kills."""

    def __init__(self, study: Path, *options: str, seed: int, length_s: float = 0) -> None:
        self.study, self.options, self.length_s = study, options, length_s
        self.chance = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.num_hung = 0

    def run(self, num_kills: int) -> None:
        """Run search processes until the search ends."""
        study = self.study
        study.parent.mkdir(parents=True, exist_ok=True)
        while True:
            resume, num_before = ["--resume"] if (study / "study.json").exists() else [], self.kills.total()
            with (study.parent / "output.txt").open("w") as output:
                line = [sys.executable, str(SCRIPT_PATH), str(study), str(NUM_TRIALS), str(NUM_EPOCHS)]
                process = subprocess.Popen(
                    [*line, *self.options, *resume], stdout=output, stderr=subprocess.STDOUT, start_new_session=True
                )
                try:
                    self._kill_repeatedly(process, num_kills)
                finally:
                    kill_all(process)
            text = (study.parent / "output.txt").read_text()
            if process.returncode == 0:
                return
            assert self.kills.total() > num_before, f"a search process failed that was not killed:\n{text}"
            assert process.returncode in (-signal.SIGKILL, 1), text

    def _kill_repeatedly(self, process: subprocess.Popen[bytes], num_kills: int) -> None:
        """Kill until the search process ends."""
        num_workers = 0
        while self.kills.total() < num_kills:
            if ended_within(process, self.chance.uniform(0, self.length_s)):
                return
            kind = self.chance.choice(["search", "worker", "worker", "ray"])
            if kind == "worker" and num_workers == MAX_WORKERS_KILLED:
                kind = "search"
            was_killed = kill(process, kind)
            self.kills[kind] += was_killed
            num_workers += was_killed and kind == "worker"
            if kind == "search":
                process.wait()
                return
            if kind == "ray" and was_killed:
                if not ended_within(process, TIMEOUT_S):
                    self.num_hung += 1
                    process.kill()
                process.wait()
                return
        if not ended_within(process, 4 * TIMEOUT_S):
            raise AssertionError(
                f"{self.study.parent / 'output.txt'}: a search process did not end that was not killed"
            )


def ended_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def processes_below(root: int) -> list[tuple[int, str]]:
    """All descendants of a process, with their titles."""
    parents: dict[int, int] = {}
    titles: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            titles[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    below, grows = {root}, True
    while grows:
        more = {pid for pid, parent in parents.items() if parent in below} - below
        below, grows = below | more, bool(more)
    return [(pid, titles.get(pid, "")) for pid in below if pid != root]


def kill(process: subprocess.Popen[bytes], kind: str) -> bool:
    """Kill the search process, one worker, or all of its Ray; whether there was something to kill."""
    below = processes_below(process.pid)
    victims = {
        "search": [process.pid],
        "worker": [pid for pid, title in below if "ScriptedActor" in title][:1],
        "ray": [pid for pid, title in below if "raylet" in title or "gcs_server" in title],
    }[kind]
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return bool(victims)


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a search process: its Ray outlives it, and must not train beside the next process."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(entry.name)) == process.pid:
                os.kill(int(entry.name), signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    process.wait()


def table(study: Study) -> list[Any]:
    return [
        (trial.params, trial.state, [(each.epoch, each.val_error_pct) for each in trial.result.epochs])
        for trial in study.trials
        if trial.result
    ]


def check(study: Study) -> None:
    """Check that every trial ended once, with the errors of its parameters, and no saved epoch was trained again."""
    assert storage.list_names(f"{study.uri}/trials") == [f"{number:06d}" for number in range(NUM_TRIALS)]
    assert len(table(study)) == NUM_TRIALS
    for trial in study.trials:
        lr = float(trial.params["optimizer.lr"])
        epochs = [epoch.epoch for epoch in trial.result.epochs]
        assert epochs == list(range(1, len(epochs) + 1)), "an epoch was lost or doubled"
        assert [each.val_error_pct for each in trial.result.epochs] == [
            SCRIPT["error_pct"](lr, each) for each in epochs
        ]
        failed = SCRIPT["fails"](lr) and len(epochs) == 2 and trial.state == "failed"
        assert failed or trial.state == ("complete" if len(epochs) == NUM_EPOCHS else "pruned"), trial.result.reason
        diary = [int(line) for line in Path(trial.folder, "diary.txt").read_text().split()]
        assert diary == sorted(diary), "it started again from nothing"


@pytest.mark.slow
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("mode", ["asynchronous", "synchronous"])
def test_search_killed_anywhere_ends_every_trial_once(tmp_path: Path, mode: str) -> None:
    options = ["--deterministic"] if mode == "synchronous" else []
    undisturbed = KilledSearch(tmp_path / "undisturbed/study", *options, seed=SEED)
    started = time.monotonic()
    undisturbed.run(0)
    length_s = time.monotonic() - started  # kills come at any time of a search, however slow the machine is
    kills: Counter[str] = Counter()
    num_searches, num_processes, num_hung = 0, 0, 0
    while kills.total() < NUM_KILLS:
        killed_search = KilledSearch(
            tmp_path / f"killed-{num_searches}/study", *options, seed=SEED + num_searches, length_s=length_s
        )
        killed_search.run(NUM_KILLS - kills.total())
        study = Study.open(str(killed_search.study))
        check(study)
        if mode == "synchronous":
            assert table(study) == table(Study.open(str(undisturbed.study)))
        kills += killed_search.kills
        num_searches, num_hung = num_searches + 1, num_hung + killed_search.num_hung
        num_processes += len(storage.list_names(f"{study.uri}/leases"))
    found = {"mode": mode, "searches": num_searches, "kills": kills, "processes": num_processes, "hung": num_hung}
    print(json.dumps(found))
    assert num_hung == 0, "a search process whose Ray was killed did not end by itself"
