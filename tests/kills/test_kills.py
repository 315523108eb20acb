"""SIGKILL to the driver, to a worker, to all of Ray, at random moments, again and again, until the search is over.

``RCN_SEARCH_KILLS=50 pytest -s tests/kills`` strikes fifty times in each mode; by default it is a handful.
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

DRIVER = Path(__file__).parent / "scripted_search.py"
SCRIPT = runpy.run_path(str(DRIVER))
NUM_TRIALS, NUM_EPOCHS = 16, 4
NUM_KILLS = int(os.environ.get("RCN_SEARCH_KILLS", "6"))
SEED = int(os.environ.get("RCN_SEARCH_KILL_SEED", "0"))
MAX_WORKERS_KILLED = 2
"""By one driver: it gives a trial up when its process dies more often, as it should."""
PATIENCE_S = 120


class Siege:
    """Drivers of one study, one after another, and what is done to them."""

    def __init__(self, study: Path, *options: str, seed: int, length_s: float = 0) -> None:
        self.study, self.options, self.length_s = study, options, length_s
        self.chance = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.num_hung = 0

    def run(self, num_kills: int) -> None:
        """Until the search is over."""
        study = self.study
        study.parent.mkdir(parents=True, exist_ok=True)
        while True:
            resume, num_before = ["--resume"] if (study / "study.json").exists() else [], self.kills.total()
            with (study.parent / "output.txt").open("w") as output:
                line = [sys.executable, str(DRIVER), str(study), str(NUM_TRIALS), str(NUM_EPOCHS)]
                driver = subprocess.Popen(
                    [*line, *self.options, *resume], stdout=output, stderr=subprocess.STDOUT, start_new_session=True
                )
                try:
                    self._besiege(driver, num_kills)
                finally:
                    kill_all(driver)
            text = (study.parent / "output.txt").read_text()
            if driver.returncode == 0:
                return
            assert self.kills.total() > num_before, f"a driver that nobody struck failed:\n{text}"
            assert driver.returncode in (-signal.SIGKILL, 1), text

    def _besiege(self, driver: subprocess.Popen[bytes], num_kills: int) -> None:
        """Strike until the driver ends."""
        num_workers = 0
        while self.kills.total() < num_kills:
            if ended_within(driver, self.chance.uniform(0, self.length_s)):
                return
            kind = self.chance.choice(["driver", "worker", "worker", "ray"])
            if kind == "worker" and num_workers == MAX_WORKERS_KILLED:
                kind = "driver"
            struck = strike(driver, kind)
            self.kills[kind] += struck
            num_workers += struck and kind == "worker"
            if kind == "driver":
                driver.wait()
                return
            if kind == "ray" and struck:
                if not ended_within(driver, PATIENCE_S):
                    self.num_hung += 1
                    driver.kill()
                driver.wait()
                return
        if not ended_within(driver, 4 * PATIENCE_S):
            raise AssertionError(f"{self.study.parent / 'output.txt'}: a driver that nobody touched did not end")


def ended_within(driver: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        driver.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def processes_below(root: int) -> list[tuple[int, str]]:
    """All processes below one, with their titles."""
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


def strike(driver: subprocess.Popen[bytes], kind: str) -> bool:
    """Kill the driver, one worker, or all of its Ray; whether there was one."""
    below = processes_below(driver.pid)
    victims = {
        "driver": [driver.pid],
        "worker": [pid for pid, title in below if "ScriptedActor" in title][:1],
        "ray": [pid for pid, title in below if "raylet" in title or "gcs_server" in title],
    }[kind]
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return bool(victims)


def kill_all(driver: subprocess.Popen[bytes]) -> None:
    """What is left of a driver: its Ray outlives it for a while, and must not train what the next one trains."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(process.name)) == driver.pid:
                os.kill(int(process.name), signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    driver.wait()


def table(study: Study) -> list[Any]:
    return [
        (trial.params, trial.state, [(each.epoch, each.val_error_pct) for each in trial.result.epochs])
        for trial in study.trials
        if trial.result
    ]


def check(study: Study) -> None:
    """Every trial ended, once, with what its parameters give; nothing was trained that was saved already."""
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
def test_whatever_is_killed_every_trial_ends_once(tmp_path: Path, mode: str) -> None:
    options = ["--deterministic"] if mode == "synchronous" else []
    undisturbed = Siege(tmp_path / "undisturbed/study", *options, seed=SEED)
    started = time.monotonic()
    undisturbed.run(0)
    length_s = time.monotonic() - started  # strikes fall at any time of a search, however slow the machine is today
    kills: Counter[str] = Counter()
    num_searches, num_drivers, num_hung = 0, 0, 0
    while kills.total() < NUM_KILLS:
        siege = Siege(
            tmp_path / f"besieged-{num_searches}/study", *options, seed=SEED + num_searches, length_s=length_s
        )
        siege.run(NUM_KILLS - kills.total())
        study = Study.open(str(siege.study))
        check(study)
        if mode == "synchronous":
            assert table(study) == table(Study.open(str(undisturbed.study)))
        kills += siege.kills
        num_searches, num_hung = num_searches + 1, num_hung + siege.num_hung
        num_drivers += len(storage.list_names(f"{study.uri}/leases"))
    found = {"mode": mode, "searches": num_searches, "kills": kills, "drivers": num_drivers, "hung": num_hung}
    print(json.dumps(found))
    assert num_hung == 0, "a driver whose Ray was killed did not end by itself"
