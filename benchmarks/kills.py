"""Searches that are killed at random moments, any number of times, over days; nothing may be lost.

    python benchmarks/kills.py --kills 300          # or --minutes 60; the next call continues from there

Each search has 16 trials that only pretend to train (`tests/kills/scripted_search.py`) through real Ray, on local disk
or at an S3 server of this machine (OpenStack Swift, in a process that is killed and started again). The kind of kill
that was rarest so far is the next one. Afterwards every trial must have ended once, with the errors of its parameters
and no saved epoch trained again; a ``--deterministic`` search must have the table of one that nobody disturbed.

Each search is a line of JSON in ``--out``. The last lines are the table by kind, and the figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import traceback
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from rcn_search.study.study import Study
from tests.kills.killed_search import LOCAL_KINDS, KilledSearch, check_search, table, undisturbed

ROOT = Path(__file__).parents[1]
KINDS = (*LOCAL_KINDS, "store")
MODES = {"asynchronous": (), "deterministic": ("--deterministic",)}
MOST_KILLS = 12
"""Kills of one search."""
SHORT_S, LONG_S = (0.5, 15.0), (45.0, 70.0)
"""How long the store is away: less than requests are repeated, or, one time in six, longer."""


class Store:
    """An S3 server with its files in a folder, at the same address after each start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "lab:robot",
            "AWS_SECRET_ACCESS_KEY": "swift-s3cret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self.start()
        self._create_bucket()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = [sys.executable, "-W", "ignore", str(ROOT / "tests/s3/swift_server.py"), str(self.folder)]
        with (self.folder / "output.txt").open("w") as errors:
            self.process = subprocess.Popen(
                [*line, str(self.port)], stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == str(self.port), (self.folder / "output.txt").read_text()

    def kill(self, away_s: float) -> None:
        """Kill the server, and start it again after a while."""
        self.stop()
        time.sleep(away_s)
        self.start()

    def stop(self) -> None:
        """Kill the server."""
        self.process.kill()
        self.process.wait()

    def _create_bucket(self) -> None:
        import boto3

        boto3.client("s3").create_bucket(Bucket="kills")


class Campaign:
    """All searches so far, and those to come."""

    def __init__(self, out: Path, folder: Path, seed: int) -> None:
        self.out, self.folder, self.seed = out, folder, seed
        self.records = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
        self.expected: dict[str, tuple[float, list[Any] | None]] = {}
        self.store: Store | None = None

    @property
    def kills(self) -> Counter[str]:
        """Kills by kind."""
        return sum((Counter(record["kills"]) for record in self.records), Counter())

    def run(self, num_kills: int, minutes: float) -> None:
        """Run searches until so many kills or minutes, whichever is first."""
        deadline = time.monotonic() + 60 * minutes
        try:
            while self.kills.total() < num_kills and time.monotonic() < deadline:
                record = self._search(min(MOST_KILLS, num_kills - self.kills.total()))
                self.records.append(record)
                with self.out.open("a") as file:
                    file.write(json.dumps(record) + "\n")
                print(json.dumps(record)[:600], flush=True)
        finally:
            if self.store:
                self.store.stop()

    def _search(self, num_kills: int) -> dict[str, Any]:
        number = len(self.records)
        mode = list(MODES)[number % 2]
        length_s, expected = self._undisturbed(mode)
        at_store = number // 2 % 2 == 1
        if at_store and self.store is None:
            self.store = Store(self.folder / "store")
        folder = self.folder / f"search-{number}"
        uri = f"s3://kills/{uuid.uuid4().hex}" if at_store else str(folder / "study")
        kinds = KINDS if at_store else LOCAL_KINDS
        killed: KilledSearch

        def rarest(chance: random.Random) -> str:
            so_far = self.kills + killed.kills
            return min(kinds, key=lambda kind: (so_far[kind] // 2, chance.random()))

        def kill_store() -> None:
            assert self.store is not None
            self.store.kill(killed.chance.uniform(*(LONG_S if killed.chance.randrange(6) == 0 else SHORT_S)))

        options = MODES[mode]
        killed = KilledSearch(
            uri,
            folder,
            *options,
            seed=self.seed + number,
            length_s=length_s,
            choose_kind=rarest,
            kill_store=kill_store if at_store else None,
        )
        started, problem = time.monotonic(), ""
        try:
            killed.run(num_kills)
            check_search(killed, expected)
            shutil.rmtree(folder, ignore_errors=True)
        except Exception:
            problem = traceback.format_exc()[-3_000:]
        return {
            "search": number,
            "mode": mode,
            "at": "store" if at_store else "disk",
            "kills": dict(killed.kills),
            "before the first trial": killed.num_before_trials,
            "processes": killed.num_processes,
            "hung": killed.num_hung,
            "problem": problem,
            "s": round(time.monotonic() - started),
        }

    def _undisturbed(self, mode: str) -> tuple[float, list[Any] | None]:
        """Run a search that nobody disturbs, once for each mode; how long it takes, and its table if repeatable."""
        if mode not in self.expected:
            folder = self.folder / f"undisturbed-{mode}-{uuid.uuid4().hex[:6]}"
            uri = str(folder / "study")
            length_s = undisturbed(uri, folder, *MODES[mode])
            self.expected[mode] = (length_s, table(Study.open(uri)) if mode == "deterministic" else None)
        return self.expected[mode]

    def print_table(self) -> None:
        """Print kills by kind, and what they broke."""
        by_mode = {
            mode: sum((Counter(each["kills"]) for each in self.records if each["mode"] == mode), Counter())
            for mode in MODES
        }
        print(f"\n{'kind':<10}" + "".join(f"{mode:>16}" for mode in MODES) + f"{'all':>8}")
        for kind in KINDS:
            print(f"{kind:<10}" + "".join(f"{by_mode[mode][kind]:>16}" for mode in MODES) + f"{self.kills[kind]:>8}")
        figures = {
            "kills": self.kills.total(),
            "searches": len(self.records),
            "processes": sum(record["processes"] for record in self.records),
            "before the first trial": sum(record["before the first trial"] for record in self.records),
            "hung": sum(record["hung"] for record in self.records),
            "searches with a problem": sum(bool(record["problem"]) for record in self.records),
        }
        print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300, help="how many, in all calls together")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no other search after this time")
    parser.add_argument("--out", type=Path, default=Path("kills.jsonl"))
    parser.add_argument("--folder", type=Path, default=Path("/tmp/rcn-search-kills"), help="for studies and the store")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    campaign = Campaign(options.out, options.folder, options.seed)
    campaign.run(options.kills, options.minutes)
    campaign.print_table()
    sys.exit(any(record["problem"] or record["hung"] for record in campaign.records))


if __name__ == "__main__":
    main()
