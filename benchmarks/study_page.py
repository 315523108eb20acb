"""The live page of a large study: time to write it, its size, and how soon Chromium shows it.

    python benchmarks/study_page.py [--trials 10000] [--shot FILE.png]

The study is made first, which is not timed: random settings of search_spaces/rcn.yaml with curves by a formula, two of
three trials pruned. Then it is read and written as `rcn-search study serve` does.

The last line is JSON: ``read_s`` and ``write_s`` of the study and its page, ``page_mb`` of all files that the browser
asks for, and ``open_ms`` until the page has loaded and its charts are drawn, the median of five.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from rcn_search.leaderboard.site.serve import serve_folder
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import EpochResult
from rcn_search.study.snapshot import open_study
from rcn_search.study.study import Study
from rcn_search.study_report.live_page import LivePage

RUNGS = (2, 6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--shot", default="", help="FILE.png for a picture of the page, and FILE-phone.png")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        uri, site = f"{folder}/study", Path(folder) / "page"
        make_study(uri, arguments.trials)
        started = time.perf_counter()
        study = open_study(uri)
        read_s = time.perf_counter() - started
        page = LivePage(site)
        started = time.perf_counter()
        page.write(study)
        figures: dict[str, Any] = {
            "trials": arguments.trials,
            "read_s": round(read_s, 2),
            "write_s": round(time.perf_counter() - started, 2),
            "page_mb": round(sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) / 1e6, 2),
        }
        print(json.dumps(figures | in_browser(site, arguments.shot)))


def make_study(uri: str, num_trials: int) -> None:
    """A study whose errors fall with the learning rate's distance from an optimum."""
    os.fsync = lambda descriptor: None  # made to be measured and thrown away
    overrides = [f"budget.trials={num_trials}", "sampler={name: random}", "initial_trials=[]"]
    config = load_study_config("search_spaces/rcn.yaml", overrides=[*overrides, "replication=null", "test=null"])
    study, chance = Study.start(uri, config, "made"), random.Random(0)
    while trial := study.ask():
        luck = chance.random()
        last = RUNGS[0] if luck < 0.5 else RUNGS[1] if luck < 0.67 else config.budget.epochs
        for epoch in range(1, last + 1):
            error = 4 + 8 * luck + abs(trial.config.optimizer.lr - 3e-3) * 500 + 20 / epoch
            result = {"loss": 1.0, "val_error_pct": error, "best_error_pct": error, "train_s": 10.0, "val_s": 1.0}
            study.report(trial.number, [EpochResult.model_validate({"epoch": epoch, **result})])
        study.finish(trial.number, "complete" if last == config.budget.epochs else "pruned")


def in_browser(site: Path, shot: str) -> dict[str, Any]:
    """Open the page as the server gives it."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return {"open_ms": None}
    from playwright.sync_api import sync_playwright

    times = []
    with serve_folder(site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(5):
            page = browser.new_context(viewport={"width": 1366, "height": 900}).new_page()
            started = time.perf_counter()
            page.goto(address)
            page.locator("figure.chart svg path.line").first.wait_for(state="attached")
            times.append(time.perf_counter() - started)
            if shot:
                page.screenshot(path=shot, full_page=True)
            page.context.close()
        if shot:
            phone = browser.new_context(viewport={"width": 360, "height": 740}).new_page()
            phone.goto(address)
            phone.locator("figure.chart svg path.line").first.wait_for(state="attached")
            phone.screenshot(path=shot.replace(".png", "-phone.png"), full_page=True)
        browser.close()
    return {"open_ms": round(1000 * median(times))}


if __name__ == "__main__":
    main()
