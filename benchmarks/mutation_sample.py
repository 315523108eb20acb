"""Which small faults the tests notice: single mutants, drawn by a seed, each against the tests of its module.

    python benchmarks/mutation_sample.py --mutants 300 [--modules 'rcn_search/study/*' …]

Works in a copy of the commit (``git worktree``), never in this checkout. Each result is a line of JSON in ``--out``;
what is there is not run again, so that a run may be stopped at any time. A survivor is printed with its diff: it is
a hole, or changes nothing (``--equivalent ID 'why'`` says so). ``--again ID …`` runs mutants anew, after tests were
committed, and against all tests of the area. The last lines are the table by area, and the figures as JSON.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import mutant_tests
from mutants import Mutant, mutants

ROOT = Path(__file__).parents[1]
# What computes, decides or publishes; the rest prints, draws or checks a machine.
LEFT_OUT = (
    "rcn_search/cli/*",
    "rcn_search/doctor/*",
    "rcn_search/tune.py",
    "rcn_search/*__main__.py",
    "rcn_search/evaluation/figures/*",
    "rcn_search/data/synthetic/*",
    "rcn_search/leaderboard/render*.py",
    "rcn_search/leaderboard/site/*",
    "rcn_search/reproduce/text_table.py",
    "rcn_search/study_report/html.py",
    "rcn_search/study_report/trial_page.py",
    "rcn_search/search/progress.py",
)
LIMIT_S, TIMEOUT = 240.0, 124
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+(?: \S+)*?)(?: - .*)?$", re.MULTILINE)
PRELOADED = (
    *("numpy", "torch", "torch._dynamo", "pyarrow.parquet", "pydantic", "yaml", "optuna", "scipy.stats", "PIL.Image"),
    *("rich.table", "typer.testing", "pytest", "safetensors.torch", "fsspec", "jinja2", "ray"),
)


def candidates(copy: Path, patterns: list[str], seed: int) -> list[Mutant]:
    """All mutants of the chosen modules, in the order of the draw."""
    paths = sorted(str(path.relative_to(copy)) for path in (copy / "rcn_search").rglob("*.py"))
    chosen = [
        path
        for path in paths
        if any(fnmatch.fnmatch(path, each) for each in patterns)
        and not any(fnmatch.fnmatch(path, each) for each in LEFT_OUT)
    ]
    drawn = [mutant for path in chosen for mutant in mutants(copy, path)]
    return sorted(drawn, key=lambda mutant: hashlib.sha256(f"{seed} {mutant.id}".encode()).digest())


class Runner:
    """Runs tests in a copy of the tree, each time in a fork of this process, which has imported what takes long."""

    def __init__(self, copy: Path) -> None:
        self.copy = copy
        self.sound: dict[str, bool] = {}
        for name in PRELOADED:
            with suppress(ImportError):
                importlib.import_module(name)

    def outcome(self, mutant: Mutant, tests: list[str]) -> dict[str, Any]:
        """Run the tests of one mutant: killed, survived, timeout (killed, too), untested; broken without the change."""
        if not tests:
            return {"outcome": "untested", "s": 0.0}
        path = self.copy / mutant.path
        source = path.read_text()
        try:
            path.write_text(mutant.source)
            _forget_bytecode(path)
            code, lasted_s, output = self._run(tests, LIMIT_S)
        finally:
            path.write_text(source)
            _forget_bytecode(path)
        failed = FAILED.findall(output)
        outcome = {0: "survived", TIMEOUT: "timeout"}.get(code, "killed")
        if outcome == "killed" and not self._passes_unchanged(failed[-1] if failed else tests[0]):
            outcome = "broken"
        return {"outcome": outcome, "s": round(lasted_s, 1), "by": failed[:1]}

    def _passes_unchanged(self, test: str) -> bool:
        """Whether the test that a mutant failed passes without the change."""
        if test not in self.sound:
            code, _, output = self._run([test], LIMIT_S)
            self.sound[test] = code == 0
            if code:
                print(f"{test} fails without any change:\n{output[-1_000:]}", flush=True)
        return self.sound[test]

    def _run(self, tests: list[str], limit_s: float) -> tuple[int, float, str]:
        """Run tests until the first fails; exit status, seconds, output."""
        started = time.monotonic()
        with tempfile.NamedTemporaryFile("r", errors="replace") as output:
            child = os.fork()
            if not child:
                self._become_pytest(tests, output.name)
            code = _wait(child, limit_s)
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # what the tests have left running
            no_test_was_left = code == 5
            return 0 if no_test_was_left else code, time.monotonic() - started, output.read()

    def _become_pytest(self, tests: list[str], output: str) -> None:
        os.setsid()
        descriptor = os.open(output, os.O_WRONLY)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(self.copy)
        os.environ |= {"PYTHONPATH": str(self.copy), "OMP_NUM_THREADS": "1"}
        sys.path[:0] = [str(self.copy)]
        import pytest

        line = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "-m", "not slow"]
        line += ["-o", "addopts=--import-mode=importlib", "-k", "not swift and not moto", *tests]
        try:
            code = int(
                pytest.main([*line, "-o", "addopts=--import-mode=importlib", "-k", "not swift and not moto", *tests])
            )
        except BaseException:
            code = 1
        os._exit(code)


def _wait(child: int, limit_s: float) -> int:
    """Wait for a process; its exit status, or `TIMEOUT`."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return TIMEOUT


def _forget_bytecode(path: Path) -> None:
    """Remove the cached bytecode, which looks fresh where a change keeps size and second."""
    for cached in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        cached.unlink(missing_ok=True)


def make_copy(place: Path) -> Path:
    """Make a copy of the commit, or renew it; the change of a mutant whose run was killed is undone."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True)
    if not place.exists():
        subprocess.run(["git", "worktree", "add", "--detach", str(place)], cwd=ROOT, check=True)
    subprocess.run(["git", "checkout", "--quiet", "--force", "--detach", commit.stdout.strip()], cwd=place, check=True)
    return place


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """Read the last record of each mutant that could be run; a verdict is added to it."""
    records: dict[str, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        record = json.loads(line)
        records[record["id"]] = {**records.get(record["id"], {}), **record}
    return {key: record for key, record in records.items() if record.get("outcome") != "broken"}


def print_table(records: dict[str, dict[str, Any]]) -> None:
    """Print the figures by area."""
    areas: dict[str, Counter[str]] = {}
    for record in records.values():
        parts = record["path"].split("/")
        area = parts[1] if len(parts) > 2 else "rcn_search"
        kind = "equivalent" if record.get("equivalent") else record["outcome"].replace("timeout", "killed")
        areas.setdefault(area, Counter())[kind] += 1
    total = sum(areas.values(), Counter())
    columns = ("killed", "survived", "untested", "equivalent")
    print(f"\n{'area':<14}" + "".join(f"{name:>12}" for name in columns) + f"{'% killed':>12}")
    for area, counts in [*sorted(areas.items()), ("all", total)]:
        changing = counts["killed"] + counts["survived"] + counts["untested"]
        share = f"{100 * counts['killed'] / changing:.1f}" if changing else "-"
        print(f"{area:<14}" + "".join(f"{counts[name]:>12}" for name in columns) + f"{share:>12}")
    print(json.dumps(dict(total)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=300, help="how many, in all")
    parser.add_argument("--modules", nargs="+", default=["rcn_search/*"], help="patterns of paths")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--copy", type=Path, default=Path("/tmp/rcn-search-mutants"))
    parser.add_argument("--out", type=Path, default=Path("mutants.jsonl"))
    parser.add_argument("--importers", type=int, default=5, help="most test files that only import the module")
    parser.add_argument("--again", nargs="*", help="run these mutants anew; without ids: all survivors")
    parser.add_argument("--equivalent", nargs=2, metavar=("ID", "WHY"), help="judge a survivor")
    options = parser.parse_args()
    records = read_results(options.out)
    if options.equivalent:
        mutant_id, why = options.equivalent
        append(options.out, {"id": mutant_id, "equivalent": why})
        return
    if options.mutants:
        sample(options, records)
    for record in read_results(options.out).values():
        if record["outcome"] in ("survived", "untested") and not record.get("equivalent"):
            print(f"\n{record['id']} {record['outcome']}: {' '.join(record['tests'])}\n{record['diff']}")
    print_table(read_results(options.out))


def sample(options: argparse.Namespace, records: dict[str, dict[str, Any]]) -> None:
    """Run the mutants that have no result yet, or those named."""
    copy = make_copy(options.copy)
    runner = Runner(copy)
    choose = mutant_tests.by_module(copy, most=options.importers, whole_area=options.again is not None)
    drawn = candidates(copy, options.modules, options.seed)
    if options.again is not None:
        again = options.again or [
            key for key, each in records.items() if each["outcome"] != "killed" and "equivalent" not in each
        ]
        drawn = [mutant for mutant in drawn if mutant.id in again]
    else:
        left = max(0, options.mutants - len(records))
        drawn = [mutant for mutant in drawn if mutant.id not in records][:left]
    for mutant in drawn:
        tests = choose(mutant.path)
        record = {"id": mutant.id, "path": mutant.path, "line": mutant.line, "kind": mutant.kind, "diff": mutant.diff}
        found = runner.outcome(mutant, tests)
        append(options.out, {**record, "tests": tests, **found})
        print(f"{found['outcome']:<9} {found['s']:6.1f} s  {mutant.id}  {mutant.path}:{mutant.line}", flush=True)


def append(path: Path, record: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
