"""One batch of inputs for one target, in a process that may die: ``python -m tests.fuzz.worker TARGET --seed 3 …``.

Each input is written down before it is read, so that whoever started this process knows what killed it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["RCN_SEARCH_CACHE"] = tempfile.mkdtemp(prefix="fuzz-cache-")

from tests.fuzz.oracle import Bench, Finding, limit_memory

MINIMIZE_RUNS = 300


class Batch:
    """Reads inputs, counts them, and keeps one minimized input for each different fault."""

    def __init__(self, bench: Bench, out: Path) -> None:
        self.bench, self.out, self.num_inputs = bench, out, 0
        self.signatures: dict[str, int] = {}
        self.current = out / "current.bin"
        out.mkdir(parents=True, exist_ok=True)

    def read(self, content: bytes) -> None:
        """Read one input."""
        self.current.write_bytes(content)
        self.num_inputs += 1
        finding = self.bench.examine(content)
        if finding is None:
            return
        num_before = self.signatures.get(finding.signature, 0)
        self.signatures[finding.signature] = num_before + 1
        if not num_before:
            self._keep(finding, minimize(content, lambda smaller: self._is_same(smaller, finding)))

    def _is_same(self, content: bytes, finding: Finding) -> bool:
        found = self.bench.examine(content)
        return found is not None and found.signature == finding.signature

    def _keep(self, finding: Finding, content: bytes) -> None:
        name = f"{len(list(self.out.glob('*.input'))):03d}.input"
        (self.out / name).write_bytes(content)
        record = {"kind": finding.kind, "signature": finding.signature, "input": name, "detail": finding.detail}
        with (self.out / "findings.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")


def minimize(content: bytes, is_same: Callable[[bytes], bool], most_runs: int = MINIMIZE_RUNS) -> bytes:
    """Remove ever smaller parts while the same fault shows."""
    size, num_runs = max(1, len(content) // 2), 0
    while num_runs < most_runs:
        start, shrunk = 0, False
        while start < len(content) and num_runs < most_runs:
            smaller = content[:start] + content[start + size :]
            num_runs += 1
            if is_same(smaller):
                content, shrunk = smaller, True
            else:
                start += size
        if size == 1 and not shrunk:
            break
        size = max(1, size // 2)
    return content


def with_coverage(batch: Batch, seed: int, seconds: float) -> None:
    """Read inputs that atheris chooses by the branches of the package that they reach; never returns."""
    import atheris

    mutate, deadline = batch.bench.target.mutate, time.monotonic() + seconds

    def one_input(content: bytes) -> None:
        batch.read(content)
        if time.monotonic() > deadline:
            finish(batch)
            os._exit(0)

    def mutator(content: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        base = content if content and random.randrange(4) else random.choice(batch.bench.seeds)
        return mutate(base, random)[:max_size]

    corpus = batch.out / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, content in enumerate(batch.bench.seeds):
        (corpus / f"seed-{number}").write_bytes(content)
    line = [sys.argv[0], str(corpus), f"-seed={seed + 1}", "-max_len=300000", "-timeout=60", "-rss_limit_mb=0"]
    atheris.Setup([*line, "-verbosity=0", "-print_final_stats=0"], one_input, custom_mutator=mutator)
    atheris.Fuzz()


def finish(batch: Batch) -> None:
    """Say how much was done, in a line of JSON."""
    print(json.dumps({"inputs": batch.num_inputs, "signatures": batch.signatures}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--coverage", action="store_true", help="choose inputs by coverage, with atheris")
    options = parser.parse_args()
    if options.coverage:
        import atheris

        with atheris.instrument_imports(include=["rcn_search"]):
            from tests.fuzz.targets import TARGETS
    else:
        from tests.fuzz.targets import TARGETS
    deadline = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        batch = Batch(Bench(TARGETS[options.target], Path(folder)), options.out)
        limit_memory()
        if options.seed == 0:
            for content in batch.bench.target.hostile():
                batch.read(content)
        if options.coverage:
            with_coverage(batch, options.seed, options.seconds)
        random = Random(options.seed)
        while batch.num_inputs < options.inputs and time.monotonic() < deadline:
            batch.read(batch.bench.draw(random))
        finish(batch)


if __name__ == "__main__":
    main()
