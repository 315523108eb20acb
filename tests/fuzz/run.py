"""Fuzz every parser that a stranger's file reaches: ``python -m tests.fuzz.run --minutes 60`` (``make fuzz``).

Goes through the targets in turns, a batch in a process of its own each time, and continues where the last run ended.
With atheris installed every fourth batch chooses its inputs by coverage. Under ``--out``:

    batches.jsonl               a line for each batch: target, seed, inputs, what was found how often
    TARGET/findings.jsonl       each different fault with its smallest input, which lies beside it
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.fuzz.targets import TARGETS

COVERAGE_EVERY = 4
EXTRA_S = 180.0
"""A batch that takes so much longer than it should hangs."""


def run_batch(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Run one batch and describe it."""
    out = options.out / re.sub(r"\W+", "-", name).strip("-")
    out.mkdir(parents=True, exist_ok=True)
    coverage = options.coverage and seed % COVERAGE_EVERY == COVERAGE_EVERY - 1
    line = [sys.executable, "-m", "tests.fuzz.worker", name, "--seed", str(seed), "--out", str(out)]
    line += ["--seconds", str(options.seconds), "--inputs", str(options.inputs)]
    line += ["--coverage"] if coverage else []
    started = time.monotonic()
    try:
        done = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=options.seconds + EXTRA_S)
        code, output, errors = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired:
        code, output, errors = 0, "", "the batch did not end"
    record: dict[str, Any] = {"target": name, "seed": seed, "coverage": coverage, "inputs": 0, "signatures": {}}
    try:
        record |= json.loads(output.strip().rpartition("\n")[2])
    except ValueError:
        if code > 0:
            sys.exit(f"{' '.join(line)} failed:\n{errors[-3_000:]}")  # a fault of these tests
        how = signal.Signals(-code).name if code < 0 else "the batch hangs"
        record["signatures"] = {f"{how}": 1}
        kept = out / f"{how}-{seed}.input"
        if (out / "current.bin").exists():
            kept.write_bytes((out / "current.bin").read_bytes())
        detail = {"kind": "signal", "signature": how, "input": kept.name, "detail": errors[-1_500:]}
        with (out / "findings.jsonl").open("a") as file:
            file.write(json.dumps(detail) + "\n")
    return record | {"s": round(time.monotonic() - started, 1)}


def print_table(batches: list[dict[str, Any]]) -> None:
    """Print inputs and different faults by target."""
    inputs: Counter[str] = Counter()
    faults: dict[str, Counter[str]] = {}
    for batch in batches:
        inputs[batch["target"]] += batch["inputs"]
        faults.setdefault(batch["target"], Counter()).update(batch["signatures"])
    for name in TARGETS:
        print(f"{name:<32}{inputs[name]:>10,} inputs{len(faults.get(name, ())):>6} different faults")
        for signature, count in faults.get(name, Counter()).most_common():
            print(f"    {count:>6}  {signature}")
    print(json.dumps({"inputs": inputs.total(), "different faults": sum(map(len, faults.values()))}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=Path(".fuzz"))
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=list(TARGETS), metavar="TARGET")
    parser.add_argument("--inputs", type=int, default=10**9, help="stop a target at so many inputs, over all runs")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of a batch")
    parser.add_argument("--no-coverage", dest="coverage", action="store_false", help="never use atheris")
    options = parser.parse_args()
    options.coverage = options.coverage and importlib.util.find_spec("atheris") is not None
    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out / "batches.jsonl"
    batches = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    most, deadline = options.inputs, time.monotonic() + 60 * options.minutes
    while time.monotonic() < deadline:
        counts: Counter[str] = Counter()
        for batch in batches:
            counts[batch["target"]] += batch["inputs"]
        left = [name for name in options.targets if counts[name] < most]
        if not left:
            break
        name = min(left, key=lambda each: (sum(batch["target"] == each for batch in batches), left.index(each)))
        options.inputs = most - counts[name]
        batch = run_batch(name, sum(each["target"] == name for each in batches), options)
        batches.append(batch)
        with log.open("a") as file:
            file.write(json.dumps(batch) + "\n")
        print(f"{name}: {batch['inputs']:,} inputs, {len(batch['signatures'])} different faults", flush=True)
    print_table(batches)


if __name__ == "__main__":
    main()
