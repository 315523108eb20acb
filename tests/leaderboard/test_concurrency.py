"""Many processes add entries at once and half of them are killed: acknowledged entries exist, and none is torn."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rcn_search.leaderboard.records import load_entries
from rcn_search.leaderboard.table import load_errors

NUM_IMAGES = 50


def add_many(add: Callable[..., str], leaderboard: str, worker: int, count: int, acknowledged: str) -> None:
    """Add entries one by one and print the name of each after it was acknowledged."""
    descriptor = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(count):
        errors = np.random.default_rng([worker, number]).gamma(4, 1.4, NUM_IMAGES)
        uri = add(leaderboard, errors, method=f"worker {worker}, entry {number}")
        os.write(descriptor, f"{Path(uri).stem}\n".encode())


@pytest.mark.parametrize(
    ("num_workers", "num_entries"), [(4, 25), pytest.param(8, 200, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_add_entry_killed_writers_keep_acknowledged_entries(
    add_measured: Callable[..., str], tmp_path: Path, num_workers: int, num_entries: int
) -> None:
    leaderboard = str(tmp_path / "leaderboard")
    context = multiprocessing.get_context("fork")
    notes = [tmp_path / f"acknowledged-{worker}" for worker in range(num_workers)]
    doomed = range(num_workers // 2)
    counts = [sys.maxsize if worker in doomed else num_entries for worker in range(num_workers)]  # none is done before
    workers = [
        context.Process(target=add_many, args=(add_measured, leaderboard, worker, counts[worker], str(note)))
        for worker, note in enumerate(notes)
    ]
    for worker in workers:
        worker.start()

    def acknowledged(index: int) -> list[str]:
        *whole, _ = notes[index].read_text().split("\n") if notes[index].exists() else [""]
        return whole

    for index in doomed:
        while len(acknowledged(index)) < num_entries // 4 and workers[index].is_alive():
            time.sleep(0.002)
        os.kill(workers[index].pid or 0, signal.SIGKILL)
    for worker in workers:
        worker.join(timeout=200)
    killed = [worker.exitcode for worker in workers].count(-signal.SIGKILL)
    assert killed == len(doomed), [worker.exitcode for worker in workers]

    entries, problems = load_entries(leaderboard)
    assert problems == []
    for index in range(num_workers):
        names = acknowledged(index)
        assert set(names) <= entries.keys()
        assert len(names) == num_entries or index in doomed
    assert sum(len(acknowledged(index)) for index in range(num_workers)) <= len(entries)
    for entry in entries.values():  # also of those that were on the leaderboard before they could be acknowledged
        assert len(load_errors(leaderboard, entry)) == NUM_IMAGES
