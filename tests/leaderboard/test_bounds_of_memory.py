"""What a refused input takes: under 300 MB and 5 s, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rcn_search.leaderboard.per_image import IMAGE_SETS
from rcn_search.leaderboard.records import ENTRIES, Entry
from tests.support.hostile_objects import HOSTILE, put

MAX_MB, MAX_S = 300, 5

CHILD = """
import sys, time
from pathlib import Path
from rcn_search import storage
from rcn_search.leaderboard.per_image import read_image_set
from rcn_search.leaderboard.records import load_entries
from rcn_search.leaderboard.table import build_leaderboard

started, (kind, folder) = time.process_time(), sys.argv[1:]
problem = ""
try:
    if kind == "json":
        storage.read_json(f"{folder}/x.json")
    elif kind == "image set":
        read_image_set(folder, "0" * 64)
    elif kind == "entries":
        (problem, *_) = load_entries(folder)[1]
    else:
        problem = build_leaderboard(folder).problems[0]
except (ValueError, OSError) as error:
    problem = str(error)
cpu_s = time.process_time() - started
(peak_kb,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
print(f"{int(peak_kb) / 1000} {cpu_s} {problem[:100]!a}")
"""


def wrong_names(number: int) -> bytes:
    return b'{"schema_version":1,"image_id":[' + b"1," * number + b'1],"group":[],"attributes":{}}'


BOMBS: dict[str, tuple[str, bytes]] = {
    "objects": ("image set", b"[" + b'{"a":0},' * 700_000 + b"0]"),
    "keys": ("json", b"{" + b",".join(b'"%d":[]' % number for number in range(900_000)) + b"}"),
    "levels": ("json", b"[" * 60_000_000),
    "values": ("json", b"[" + b"0," * 30_000_000 + b"0]"),
    "too many bytes": ("json", b'"' + b"a" * 70_000_000 + b'"'),
    "names that are numbers": ("image set", wrong_names(1_900_000)),
    "keys of an entry": ("entries", b"{" + b",".join(b'"%d":0' % number for number in range(25_000)) + b"}"),
    "points of an entry": ("entries", b'{"points":[' + b"1," * 120_000 + b"1]}"),
}


def run(kind: str, folder: Path) -> str:
    """Read in a child process; return the problem, after checking what it took."""
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is read from /proc")
    line = [sys.executable, "-c", CHILD, kind, str(folder)]
    output = subprocess.run(line, capture_output=True, text=True, timeout=100, check=True).stdout
    peak_mb, cpu_s, problem = output.split(maxsplit=2)
    assert float(peak_mb) < MAX_MB, output
    assert float(cpu_s) < MAX_S, output
    return problem


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_refused_document_stays_within_bounds(tmp_path: Path, name: str) -> None:
    kind, content = BOMBS[name]
    folder = {"json": ".", "image set": IMAGE_SETS, "entries": ENTRIES}[kind]
    put(tmp_path / folder, f"{'0' * 64}.json" if kind == "image set" else "x.json", content)
    assert run(kind, tmp_path) != "''\n"


@pytest.mark.slow
def test_hostile_leaderboard_stays_within_bounds(
    tmp_path: Path, make_entry: Callable[..., Entry], add_measured: Callable[..., str]
) -> None:
    add_measured(str(tmp_path), np.arange(40.0))
    for damage in HOSTILE.values():
        damage(tmp_path, make_entry)
    assert run("leaderboard", tmp_path) != "''\n"
