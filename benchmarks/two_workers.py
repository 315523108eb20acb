"""Images per second of ``rcn-search train --workers 2`` against one worker, with one thread each.

    python benchmarks/two_workers.py --data data/mtfl [--rounds 3] [--epochs 3] [--images 640]

The command line itself, RCN-6 and its configuration of configs/rcn6.yaml, in turns. Of each training the images per
second of its epochs, as the run reports them, the first epoch left out, which pays for set-up. Start and end are not in
them: both are printed as seconds of wall time. On shared cores the ratio is no more than what is left of them: the load
is printed beside it.

The last line is JSON: ``ratio`` of the medians, ``img_s`` by number of workers, ``wall_s`` of the last round, ``load``
before each training.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = Path(__file__).parents[1] / "configs" / "rcn6.yaml"


def images_per_s(arguments: argparse.Namespace, num_workers: int, out: str) -> list[float]:
    """Of each epoch but the first."""
    options = {
        "data.uri": str(Path(arguments.data).resolve()),
        "data.num_train": arguments.images,
        "data.num_val": 64,
        "schedule.epochs": arguments.epochs,
        "compute.threads": 1,
        "compute.precision": "bf16",
        "compute.channels_last": "true",
        "compute.device": "cpu",
    }
    line = [sys.executable, "-m", "rcn_search", "train", str(CONFIG), "--out", out, "--workers", str(num_workers)]
    for name, value in options.items():
        line += ["--set", f"{name}={value}"]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    history = json.loads(Path(out, "history.json").read_text())
    return [epoch["images_per_s"] for epoch in history[1:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="an imported data set")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=640, help="to train on")
    arguments = parser.parse_args()
    measured: dict[int, list[float]] = {1: [], 2: []}
    wall_s: dict[int, float] = {}
    loads = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(arguments.rounds):
            for num_workers, speeds in measured.items():
                loads.append(os.getloadavg()[0])
                started = time.perf_counter()
                speeds += images_per_s(arguments, num_workers, f"{folder}/{turn}-{num_workers}")
                wall_s[num_workers] = time.perf_counter() - started
                spent = f"{wall_s[num_workers]:.0f} s; load {loads[-1]:.1f}"
                print(f"{num_workers} workers: {speeds[-1]:.0f} images/s, {spent}", flush=True)
    img_s = {num_workers: statistics.median(speeds) for num_workers, speeds in measured.items()}
    figures = {
        "ratio": round(img_s[2] / img_s[1], 2),
        "img_s": {num_workers: round(speed) for num_workers, speed in img_s.items()},
        "wall_s": {num_workers: round(seconds) for num_workers, seconds in wall_s.items()},
        "load": [round(load, 1) for load in loads],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
