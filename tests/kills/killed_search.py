"""Search processes of a study that are killed at random moments, one after another, until the search ends.

Kinds of kills: ``search``, the search process; ``trial``, a process of Ray that trains; ``raylet`` and ``gcs``, the two
of Ray; ``node``, all of Ray with all trials; ``store``, the object store, which comes back after a while.
"""

from __future__ import annotations

import os
import random
import runpy
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rcn_search import storage
from rcn_search.study.study import Study

SCRIPT_PATH = Path(__file__).parent / "scripted_search.py"
SCRIPT = runpy.run_path(str(SCRIPT_PATH))
NUM_TRIALS, NUM_EPOCHS = 16, 4
LOCAL_KINDS = ("search", "trial", "raylet", "gcs", "node")
ENDS_RAY = {"raylet", "gcs", "node"}
MAX_TRIALS_KILLED = 2
"""Kills of trial processes in one search process, which rightly fails a trial whose process dies more often."""
POLL_INTERVAL_S, TIMEOUT_S = 0.5, 240
"""A search process whose Ray was killed ends within this time; one that is left alone, within four times this."""


class KilledSearch:
    """Search processes of one study, one after another, and the kills.

    Args:
        uri: Where the study is.
        folder: Local folder for what the processes print and what the trials train.
        length_s: How long an undisturbed search takes.
        choose_kind: Kind of the next kill.
        kill_store: Kills the object store of the study, and starts it again after a while.
    """

    def __init__(
        self,
        uri: str,
        folder: Path,
        *options: str,
        seed: int,
        length_s: float = 0.0,
        choose_kind: Callable[[random.Random], str] | None = None,
        kill_store: Callable[[], object] | None = None,
    ) -> None:
        self.uri, self.folder, self.options, self.length_s = uri, folder, options, length_s
        self.chance = random.Random(seed)
        self._choose_kind = choose_kind or (lambda chance: chance.choice(LOCAL_KINDS))
        self._kill_store = kill_store
        self.kills: Counter[str] = Counter()
        self.num_hung = self.num_processes = self.num_before_trials = 0

    def run(self, num_kills: int) -> None:
        """Run search processes until the search ends; kill this often, or less if it ends before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        output = self.folder / "output.txt"
        while True:
            resume = ["--resume"] if self._has_begun() else []
            num_before = self.kills.total()
            line = [sys.executable, str(SCRIPT_PATH), self.uri, str(self.folder), str(NUM_TRIALS), str(NUM_EPOCHS)]
            self.num_processes += 1
            with output.open("w") as stream:
                process = subprocess.Popen(
                    [*line, *self.options, *resume], stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
                )
                try:
                    self._kill_repeatedly(process, num_kills)
                finally:
                    kill_all(process)
            if process.returncode == 0:
                return
            text = output.read_text(errors="replace")
            assert self.kills.total() > num_before, f"a search process failed that was not killed:\n{text}"
            assert process.returncode in (-signal.SIGKILL, 1), text

    def _ends_before_kill(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait for the moment of a kill, one in four at any time of a search, the others while trials train."""
        if self.chance.randrange(4) == 0:
            return ended_within(process, self.chance.uniform(0, self.length_s))
        while not runs_trials(process):
            if ended_within(process, POLL_INTERVAL_S):
                return True
        return ended_within(process, self.chance.uniform(0, self.length_s / 4))

    def _has_begun(self) -> bool:
        return storage.exists(storage.join(self.uri, "study.json"))

    def _kill_repeatedly(self, process: subprocess.Popen[bytes], num_kills: int) -> None:
        """Kill until the search process ends."""
        num_trials_killed = 0
        while self.kills.total() < num_kills:
            if self._ends_before_kill(process):
                return
            kind = self._choose_kind(self.chance)
            if kind == "trial" and num_trials_killed == MAX_TRIALS_KILLED:
                kind = "search"
            before_trials = not runs_trials(process)
            if kind == "store":
                assert self._kill_store is not None, "this study is at no object store"
                self._kill_store()
                self.kills[kind] += 1
                continue
            if not kill(process.pid, kind):
                continue
            self.kills[kind] += 1
            self.num_before_trials += before_trials
            num_trials_killed += kind == "trial"
            if kind in ENDS_RAY and not ended_within(process, TIMEOUT_S):
                self.num_hung += 1
                process.kill()
            if kind in ENDS_RAY or kind == "search":
                process.wait()
                return
        if not ended_within(process, 4 * TIMEOUT_S):
            raise AssertionError(f"{self.folder / 'output.txt'}: a search process did not end that was not killed")


def runs_trials(process: subprocess.Popen[bytes]) -> bool:
    """Whether a search process has a trial that trains."""
    return bool(_victims(process.pid, "trial"))


def ended_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether a process ends within a time."""
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


def _victims(search_process: int, kind: str) -> list[int]:
    if kind == "search":
        return [search_process]
    below = processes_below(search_process)
    if kind == "node":
        return [pid for pid, _ in below]
    part = {"trial": "ScriptedActor", "raylet": "raylet/raylet", "gcs": "gcs_server"}[kind]
    found = [pid for pid, title in below if part in title]
    return found[:1] if kind == "trial" else found


def kill(search_process: int, kind: str) -> bool:
    """Kill the processes of one kind; whether there was something to kill."""
    num_killed = 0
    for pid in _victims(search_process, kind):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        num_killed += 1
    return num_killed > 0


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a search process: its Ray outlives it, and must not train beside the next process."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(entry.name)) == process.pid:
                os.kill(int(entry.name), signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    process.wait()


def undisturbed(uri: str, folder: Path, *options: str) -> float:
    """Run a search that nothing disturbs; how long it takes."""
    started = time.monotonic()
    KilledSearch(uri, folder, *options, seed=0).run(0)
    return time.monotonic() - started


def table(study: Study) -> list[Any]:
    """Parameters, state and errors by epoch of every ended trial."""
    return [
        [dict(trial.params), trial.state, [[each.epoch, each.val_error_pct] for each in trial.result.epochs]]
        for trial in study.trials
        if trial.result
    ]


def check(study: Study, folder: Path) -> None:
    """Check that every trial ended once, with the errors of its parameters, and no saved epoch was trained again."""
    assert storage.list_names(f"{study.uri}/trials") == [f"{number:06d}" for number in range(NUM_TRIALS)]
    assert len(table(study)) == NUM_TRIALS
    for trial in study.trials:
        lr = float(trial.params["optimizer.lr"])
        assert trial.result is not None
        epochs = [epoch.epoch for epoch in trial.result.epochs]
        assert epochs == list(range(1, len(epochs) + 1)), "an epoch was lost or doubled"
        assert [each.val_error_pct for each in trial.result.epochs] == [
            SCRIPT["error_pct"](lr, each) for each in epochs
        ]
        failed = SCRIPT["fails"](lr) and len(epochs) == 2 and trial.state == "failed"
        assert failed or trial.state == ("complete" if len(epochs) == NUM_EPOCHS else "pruned"), trial.result.reason
        trained = [int(line) for line in SCRIPT["diary_path"](folder, trial.number).read_text().split()]
        assert trained == sorted(trained), "it started again from nothing"


def check_search(killed: KilledSearch, expected: Sequence[Any] | None) -> None:
    """Check a search that has ended: `check`, no process hung, and the table of the undisturbed one, if it has one."""
    study = Study.open(killed.uri)
    check(study, killed.folder)
    if expected is not None:
        assert table(study) == list(expected), "the table is not that of the undisturbed search"
    assert killed.num_hung == 0, "a search process whose Ray was killed did not end by itself"
