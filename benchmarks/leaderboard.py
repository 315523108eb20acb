"""How long the leaderboard takes: the terminal's table over a large one, and the bootstrap.

    python benchmarks/leaderboard.py --entries 10000 --images 100

Makes a leaderboard of that many entries in four tables, each entry with the errors of that many images, in a folder
of its own, and runs `rcn-search leaderboard` on it as a user would: once without a cache, then several times with it.
Wall seconds, CPU seconds (what an idle machine would need) and peak memory of the whole process; then 10,000
resamples of 3,000 images in this process. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from rcn_search.evaluation.bootstrap import bootstrap_intervals
from rcn_search.evaluation.metrics import bootstrap_interval
from rcn_search.evaluation.protocol import rcn2016, subpixel
from rcn_search.leaderboard.objects import list_objects
from rcn_search.leaderboard.packing import pack
from rcn_search.leaderboard.per_image import ImageSet, store_errors
from rcn_search.leaderboard.records import ENTRIES, Entry, add_entry, read_entries

PROTOCOLS = [make("aflw", subset, "five") for subset in ("test", "hard") for make in (rcn2016, subpixel)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="leaderboard-benchmark-"))
    try:
        found = measure(folder, options.entries, options.images, options.runs)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(found))


def measure(folder: Path, num_entries: int, num_images: int, num_runs: int) -> dict[str, float]:
    leaderboard = folder / "leaderboard"
    make_leaderboard(str(leaderboard), num_entries, num_images)
    size_mb = sum(each.stat().st_size for each in leaderboard.rglob("*") if each.is_file()) / 1e6
    print(f"{num_entries:,} entries, {num_entries * num_images:,} results by image, {size_mb:.0f} MB")
    os.environ["RCN_SEARCH_CACHE"] = str(folder / "cache")
    first, *later = [show(str(leaderboard)) for _ in range(1 + num_runs)]
    print(f"first time: {first[0]:.2f} s, CPU {first[1]:.2f} s, {first[2]:.0f} MB at most")
    wall, cpu, memory = (float(np.median(column)) for column in zip(*later, strict=True))
    print(f"with the cache: {wall:.2f} s, CPU {cpu:.2f} s, {memory:.0f} MB at most (median of {num_runs})")
    loose_s, packed_s, packed_first = compare_packed(str(leaderboard), folder)
    errors, groups = np.random.default_rng(0).gamma(4, 1.5, 3_000), np.arange(3_000).astype(str)
    mean_s = timed(lambda: bootstrap_interval(errors, groups))
    many = np.concatenate([errors[:, None], np.random.default_rng(1).gamma(4, 1.5, (3_000, 12))], axis=1)
    all_s = timed(lambda: bootstrap_intervals(many, groups, percentiles=(90, 95, 99)))
    print(f"bootstrap, 10,000 × 3,000: mean {mean_s[0]:.2f} s, CPU {mean_s[1]:.2f} s; ", end="")
    print(f"13 means and 3 percentiles {all_s[0]:.2f} s, CPU {all_s[1]:.2f} s")
    return {
        "entries": num_entries,
        "result_rows": num_entries * num_images,
        "first_s": first[0],
        "first_cpu_s": first[1],
        "table_s": wall,
        "table_cpu_s": cpu,
        "read_loose_s": loose_s,
        "read_packed_s": packed_s,
        "packed_first_s": packed_first,
        "peak_mb": max(first[2], memory),
        "bootstrap_s": mean_s[0],
        "bootstrap_cpu_s": mean_s[1],
        "bootstrap_all_cpu_s": all_s[1],
    }


def compare_packed(leaderboard: str, folder: Path) -> tuple[float, float, float]:
    """Seconds to read all entries loose and packed, and for the first table of the packed leaderboard."""

    def read() -> float:
        return timed(lambda: read_entries(leaderboard, list_objects(leaderboard, ENTRIES)))[0]

    loose_s = read()
    started = time.perf_counter()
    packed = pack(leaderboard)
    print(f"packed {packed.num_objects:,} objects into {packed.num_packs} packs: {time.perf_counter() - started:.1f} s")
    packed_s = read()
    print(f"all entries read: loose {loose_s:.2f} s, packed {packed_s:.2f} s (the shortest of five)")
    os.environ["RCN_SEARCH_CACHE"] = str(folder / "cache-packed")
    first, *later = [show(leaderboard) for _ in range(4)]
    print(f"packed, first time: {first[0]:.2f} s; with the cache: {np.median([each[0] for each in later]):.2f} s")
    return loose_s, packed_s, first[0]


def make_leaderboard(leaderboard: str, num_entries: int, num_images: int) -> None:
    os.fsync = lambda descriptor: None  # type: ignore[assignment]  # it is not the writing that is measured
    rng = np.random.default_rng(0)
    names = np.array([f"AFLW/{n:04d}-image.jpg" for n in range(num_images)])
    images = ImageSet(image_id_n=names, group_n=names)
    base = rng.gamma(4, 1.4, num_images)
    for number in range(num_entries):
        errors = np.abs(base + rng.normal(0.001 * number, 1, num_images))
        per_image = store_errors(leaderboard, images, errors)
        mean = float(errors.mean())
        entry = Entry(
            method=f"RCN {number % 7} branches, occlusion, fast recipe, {number} epochs",
            protocol=PROTOCOLS[number % len(PROTOCOLS)],
            error_pct=mean,
            ci_low_pct=mean - 0.2,
            ci_high_pct=mean + 0.2,
            num_images=num_images,
            run_id=f"{number:012x}",
            config={
                "seed": 0,
                "recipe": "fast",
                **{part: {f"option_{i}": 0.1 * i for i in range(8)} for part in "abcd"},
            },
            fingerprint="e83b52d02ff8cd0d",
            num_params=310_229,
            multiply_adds=93_304_832,
            epochs=15,
            train_s=1031.65,
            hardware="2 CPU cores",
            code_version="0.1.0",
            created=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
            num_test_evaluations=number,
            predictions_sha256=f"{number:064x}",
            auc=(45.0, 44.0, 46.0),
            failure_rate=(9.0, 8.0, 10.0),
            p90=(10.0, 9.0, 11.0),
            p95=(12.0, 11.0, 13.0),
            p99=(20.0, 18.0, 22.0),
            points=[(5.0, 4.9, 5.1)] * 5,
            parts={f"pose {pose}": (num_images // 5, (6.0, 5.5, 6.5)) for pose in range(5)},
            **per_image,
        )
        add_entry(leaderboard, entry)


def show(leaderboard: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory in MB of one `rcn-search leaderboard`."""
    started = time.perf_counter()
    child = os.fork()
    if not child:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.execv(sys.executable, [sys.executable, "-m", "rcn_search", "leaderboard", "--leaderboard", leaderboard])
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit("rcn-search leaderboard failed")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def timed(call: object) -> tuple[float, float]:
    """The shortest of five: what else the machine does only adds."""
    times = []
    for _ in range(5):
        wall, cpu = time.perf_counter(), time.process_time()
        call()  # type: ignore[operator]
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(times)[0], min(cpu for _, cpu in times)


if __name__ == "__main__":
    main()
