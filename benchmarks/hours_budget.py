"""Whether a search ends at its hours: random limits, with kills among them, and nothing lost.

    python benchmarks/hours_budget.py [--limits 20] [--seed 0] [--longest 240] [--out hours_budget.jsonl]

A small study on drawn faces (two at once, one core each) gets a random limit of 40 s to ``--longest``. In every other
one the search process and all processes that it started are killed once at a random moment, and the same command with
--resume continues. Each limit is a line of ``--out``; run the same command again to continue where it was interrupted.

Of each limit: ``used_s``, the hours that the study has counted at the end; ``real_s``, the time for which a search
process held the lease, by this program's clock; ``allowed_s``, 2 % of the limit or 30 s; ``lost``, what is no longer
there or has changed: results of ended trials, epochs that running ones had saved, and, after the study was resumed
without a limit, epochs that are missing. The last line is JSON with the worst of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import yaml

from rcn_search.study.lease import read_use
from rcn_search.study.snapshot import open_study

NUM_EPOCHS = 4
SHORTEST_S = 40.0
POLL_S = 0.05
TIMEOUT_S = 900.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limits", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=240.0, help="longest limit in seconds")
    parser.add_argument("--out", type=Path, default=Path("hours_budget.jsonl"))
    arguments = parser.parse_args()
    done = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    with tempfile.TemporaryDirectory(prefix="hours-budget-") as name:
        folder = Path(name)
        data = make_data(folder)
        for number in range(len(done), arguments.limits):
            chance = random.Random(f"{arguments.seed}/{number}")
            limit_s = chance.uniform(SHORTEST_S, arguments.longest)
            kill_after_s = chance.uniform(0.2, 0.9) * limit_s if number % 2 else None
            case = run_limit(folder / f"{number:03d}", data, limit_s, kill_after_s)
            done.append({"number": number, **case})
            print(json.dumps(done[-1]), flush=True)
            with arguments.out.open("a") as stream:
                stream.write(json.dumps(done[-1]) + "\n")
    misses = [abs(case["used_s"] - case["limit_s"]) / case["allowed_s"] for case in done]
    figures = {
        "limits": len(done),
        "killed": sum(case["killed_after_s"] is not None for case in done),
        "within": sum(miss <= 1 for miss in misses),
        "worst_miss_s": round(max(abs(case["used_s"] - case["limit_s"]) for case in done), 2),
        "worst_uncounted_s": round(max(case["real_s"] - case["used_s"] for case in done), 2),
        "lost": sum(len(case["lost"]) for case in done),
    }
    print(json.dumps(figures))


def make_data(folder: Path) -> str:
    """Drawn faces, with a split for validation."""
    line = ["data", "generate", str(folder / "data"), "--train", "200", "--val", "50", "--test", "50"]
    subprocess.run([sys.executable, "-m", "rcn_search", *line], check=True, stdout=subprocess.DEVNULL)
    return str(folder / "data")


def run_limit(folder: Path, data: str, limit_s: float, kill_after_s: float | None) -> dict[str, Any]:
    """Run one study to its limit, killed once if asked for; what it used, and what it lost."""
    folder.mkdir()
    study = folder / "study"
    path = write_study(folder, data)
    limit = ["--set", f"budget.max_hours={limit_s / 3600!r}"]
    real_s, text, saved = 0.0, "", {}
    if kill_after_s is not None:
        seconds, text = search(path, study, [*limit], folder, kill_after_s)
        real_s += seconds
        saved = saved_state(study)
    if "is used up" not in text:
        seconds, text = search(path, study, [*limit, *(["--resume"] if kill_after_s else [])], folder, None)
        real_s += seconds
    used_s = read_use(str(study)).wall_s
    lost = lost_since(study, saved)
    if "is used up" not in text:
        lost.append(f"the search ended for another reason: {text[-300:]}")
    num_trials = len(open_study(str(study)).trials)
    _, rest = search(path, study, ["--resume", "--set", f"budget.trials={max(1, num_trials)}"], folder, None)
    for trial in open_study(str(study)).trials:
        if trial.state != "complete" or sorted(trial.epochs) != list(range(1, NUM_EPOCHS + 1)):
            lost.append(f"trial {trial.number} is {trial.state} after {len(trial.epochs)} epochs: {rest[-300:]}")
    return {
        "limit_s": round(limit_s, 2),
        "killed_after_s": kill_after_s and round(kill_after_s, 2),
        "used_s": round(used_s, 2),
        "real_s": round(real_s, 2),
        "allowed_s": round(max(0.02 * limit_s, 30.0), 2),
        "trials": num_trials,
        "lost": lost,
    }


def write_study(folder: Path, data: str) -> Path:
    document = {
        "study": {"name": "hours"},
        "base": {
            "data": {"uri": data},
            "model": {"name": "rcn", "branches": 2, "channels": 8},
            "schedule": {"batch_size": 16},
            "compute": {"precision": "fp32", "channels_last": False},
        },
        "search": {"optimizer.lr": {"float": [1e-3, 1e-2]}},
        "sampler": {"name": "random"},
        "scheduler": {"name": "none"},
        "budget": {"trials": 10_000, "epochs": NUM_EPOCHS, "max_concurrent": 2},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def search(path: Path, study: Path, options: list[str], folder: Path, kill_after_s: float | None) -> tuple[float, str]:
    """Run a search process; for how long it held the lease, and what it printed."""
    known = set(study.glob("leases/*/acquired.json"))
    log = folder / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "rcn_search", "tune", str(path), "--study", str(study), *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "RAY_ADDRESS": "local"},
            start_new_session=True,
        )
        started = since = time.monotonic()
        while not (set(study.glob("leases/*/acquired.json")) - known) and process.poll() is None:
            since = time.monotonic()
            time.sleep(POLL_S)
        released = study / "leases" / f"{len(known):06d}" / "released.json"
        while process.poll() is None and not released.exists():
            if kill_after_s is not None and time.monotonic() - since >= kill_after_s:
                held_s = time.monotonic() - since
                kill(process)
                return held_s, log.read_text()
            if time.monotonic() - started > TIMEOUT_S:
                kill(process)
                raise TimeoutError(log.read_text())
            time.sleep(POLL_S)
        held_s = time.monotonic() - since
        process.wait()
    return held_s, log.read_text()


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a search process and all processes that it started, among them its own Ray."""
    everyone = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for each in everyone:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


def saved_state(study: Path) -> dict[str, Any]:
    """Hashes of results, and the epochs that trials without a result have saved."""
    results = {path.parent.name: digest(path) for path in study.glob("trials/*/result.json")}
    if not (study / "study.json").exists():
        return {"results": results, "epochs": {}}
    trials = open_study(str(study)).trials
    return {"results": results, "epochs": {trial.number: dict(trial.epochs) for trial in trials if not trial.result}}


def lost_since(study: Path, saved: dict[str, Any]) -> list[str]:
    lost = []
    for name, known in saved.get("results", {}).items():
        path = study / "trials" / name / "result.json"
        if not path.exists() or digest(path) != known:
            lost.append(f"the result of trial {name}")
    trials = {trial.number: trial for trial in open_study(str(study)).trials}
    for number, epochs in saved.get("epochs", {}).items():
        now = trials[number].epochs if number in trials else {}
        for epoch, report in epochs.items():
            if epoch not in now or now[epoch].val_error_pct != report.val_error_pct:
                lost.append(f"epoch {epoch} of trial {number}")
    return lost


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
