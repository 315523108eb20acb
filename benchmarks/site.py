"""The site of a large leaderboard: time and memory to write it, and how quick its largest page is in a browser.

    python benchmarks/site.py [--entries 10000] [--images 100]

The leaderboard is made first, which is not timed: entries of two protocols with the errors of their images beside
them, so that entries × images errors lie on disk. Then `rcn-search leaderboard build-site` runs in a process of its
own.

The last line is JSON: ``site_s`` from start to end of the command, ``cpu_s`` its processor time, which other programs
on the machine do not change, ``peak_mb`` its largest resident memory, ``rows_on_disk``, ``pages`` and ``site_mb`` of
what it wrote; and of the page of the larger table in Chromium, if there is one: ``page_mb``, ``open_ms`` until it has
loaded, ``sort_ms`` and ``filter_ms`` from the click or key to the next frame.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from rcn_search import __version__
from rcn_search.evaluation.protocol import rcn2016, subpixel
from rcn_search.evaluation.score import Estimate, Part
from rcn_search.leaderboard.per_image import ImageSet, store_errors
from rcn_search.leaderboard.records import Entry, add_entry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=100, help="of each entry")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        leaderboard, site = Path(folder) / "leaderboard", Path(folder) / "site"
        make_leaderboard(str(leaderboard), arguments.entries, arguments.images)
        print(f"made {arguments.entries:,} entries", flush=True)
        line = [
            sys.executable,
            "-m",
            "rcn_search",
            "leaderboard",
            "build-site",
            "--out",
            str(site),
            "--leaderboard",
            str(leaderboard),
        ]
        start = time.perf_counter()
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        site_s = time.perf_counter() - start
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        files = [path for path in site.rglob("*") if path.is_file()]
        figures: dict[str, Any] = {
            "entries": arguments.entries,
            "rows_on_disk": arguments.entries * arguments.images,
            "site_s": round(site_s, 2),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
            "peak_mb": round(usage.ru_maxrss / 1024),
            "pages": sum(path.suffix == ".html" for path in files),
            "site_mb": round(sum(path.stat().st_size for path in files) / 1e6, 1),
        }
        page = max(site.glob("*.html"), key=lambda path: path.stat().st_size)
        figures |= {"page_mb": round(page.stat().st_size / 1e6, 1)} | in_browser(page)
    print(json.dumps(figures))


def make_leaderboard(leaderboard: str, num_entries: int, num_images: int) -> None:
    """Entries as a long search leaves them: two for each run, one for each protocol."""
    os.fsync = lambda descriptor: None  # made to be measured and thrown away
    rng = np.random.default_rng(0)
    names = np.array([f"AFLW/{image:06d}.jpg" for image in range(num_images)])
    images = ImageSet(image_id_n=names, group_n=names, attributes={"pose": (np.arange(num_images) % 5).astype("i1")})
    difficulty_n = rng.gamma(9.0, 0.6, num_images)
    (Path(leaderboard) / "published").mkdir(parents=True)
    for number in range(num_entries):
        run, protocol = number // 2, (rcn2016 if number % 2 else subpixel)("aflw", "test", "five")
        error_n = difficulty_n * rng.uniform(0.9, 2.0) * rng.uniform(0.8, 1.2, num_images)
        mean = float(error_n.mean())
        estimate = Estimate(mean, 0.97 * mean, 1.03 * mean)
        per_image = store_errors(leaderboard, images, error_n)
        entry = Entry(
            method=f"RCN {run % 7 + 1} branches, occlusion, trial {run}",
            protocol=protocol,
            error_pct=mean,
            ci_low_pct=0.97 * mean,
            ci_high_pct=1.03 * mean,
            num_images=num_images,
            run_id=f"{run:012x}",
            config=CONFIG | {"seed": run},
            fingerprint="0123456789abcdef",
            num_params=int(rng.integers(3_000, 500_000)),
            multiply_adds=int(rng.integers(10_000_000, 900_000_000)),
            epochs=int(rng.integers(3, 150)),
            train_s=float(rng.uniform(60, 6000)),
            hardware="Intel(R) Xeon(R) Processor @ 2.10GHz, 1 threads",
            code_version=__version__,
            created=datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=run),
            num_test_evaluations=run + 1,
            predictions_sha256=f"{run:064x}",
            auc=estimate,
            failure_rate=estimate,
            p90=estimate,
            p95=estimate,
            p99=estimate,
            points=(estimate,) * 5,
            parts={f"pose {pose}": Part(num_images // 5, estimate) for pose in range(5)},
            **per_image,
            latency_ms=float(rng.uniform(0.5, 20)),
            made_with={"decoder": "median", "tta": "multiview"},
        )
        add_entry(leaderboard, entry)


CONFIG = {
    "recipe": "fast",
    "data": {"uri": "data/mtfl", "train_split": "train", "val_split": "val", "num_train": None, "num_val": None},
    "input": {"size_px": 80, "color": False, "contrast_normalization": "image"},
    "model": {"name": "rcn", "branches": 6, "layer_preset": "mtfl", "channels": "paper", "skip": False},
    "augment": {"translate": 0.1, "scale": 0.1, "rotate_deg": 20.0, "occluder": {"min_px": 20, "max_px": 50}},
    "optimizer": {"name": "muon", "lr": 0.005, "weight_decay": 0.0001, "l2_encoder": 0.0, "l2_branches": 0.0},
    "schedule": {
        "epochs": 150,
        "batch_size": 64,
        "lr_schedule": "one_cycle",
        "warmup_fraction": 0.1,
        "reshuffle": True,
    },
    "validation": {"augment": True, "every_epochs": 1, "save": "best"},
}


def in_browser(page: Path) -> dict[str, float]:
    """Milliseconds to open the page, to sort it and to filter it; nothing where there is no Chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return {}
    from playwright.sync_api import sync_playwright

    action = """([selector, act]) => new Promise((done) => {
        const node = document.querySelector(selector), start = performance.now();
        if (act === "click") node.click();
        else { node.value = act; node.dispatchEvent(new Event("input")); }
        requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
    })"""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1366, "height": 900})
        opened.goto(page.as_uri())
        figures = {
            "open_ms": opened.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"),
            "sort_ms": opened.evaluate(action, ["[data-kind=measured] th.params button", "click"]),
            "filter_ms": opened.evaluate(action, ["[data-kind=measured] input", "trial 12"]),
        }
        browser.close()
    return {name: round(value, 1) for name, value in figures.items()}


if __name__ == "__main__":
    main()
