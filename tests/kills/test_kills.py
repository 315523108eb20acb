"""SIGKILL to the search process, a trial or a part of Ray, at random moments, again and again, until the search ends.

``RCN_SEARCH_KILLS=50 pytest -s tests/kills`` kills fifty times in each mode, by default a few times;
``benchmarks/kills.py`` any number, over days, an object store among them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from rcn_search.study.study import Study
from tests.kills.killed_search import KilledSearch, check_search, table, undisturbed

NUM_KILLS = int(os.environ.get("RCN_SEARCH_KILLS", "6"))
SEED = int(os.environ.get("RCN_SEARCH_KILL_SEED", "0"))


@pytest.mark.slow
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("mode", ["asynchronous", "synchronous"])
def test_search_killed_anywhere_ends_every_trial_once(tmp_path: Path, mode: str) -> None:
    options = ["--deterministic"] if mode == "synchronous" else []
    first = tmp_path / "undisturbed"
    length_s = undisturbed(str(first / "study"), first, *options)
    expected = table(Study.open(str(first / "study"))) if mode == "synchronous" else None
    kills: Counter[str] = Counter()
    num_searches, num_processes = 0, 0
    while kills.total() < NUM_KILLS:
        folder = tmp_path / f"killed-{num_searches}"
        killed = KilledSearch(str(folder / "study"), folder, *options, seed=SEED + num_searches, length_s=length_s)
        killed.run(NUM_KILLS - kills.total())
        check_search(killed, expected)
        kills += killed.kills
        num_searches, num_processes = num_searches + 1, num_processes + killed.num_processes
    print(json.dumps({"mode": mode, "searches": num_searches, "kills": kills, "processes": num_processes}))
