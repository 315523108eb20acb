"""The live page of a study: trials by state, rungs, curves, importances and what its trials reserve.

It is a folder with one page, the same style sheet and scripts as the site of a leaderboard, and a stamp that changes
when the page does. The page loads nothing from other hosts.
"""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rcn_search import __version__, storage
from rcn_search.pages import ASSETS, asset_files, page_environment
from rcn_search.study.budget_use import limits
from rcn_search.study.importances import importances
from rcn_search.study.lease import read_use
from rcn_search.study.selection import choose_trials
from rcn_search.study.snapshot import open_study
from rcn_search.study.statistics import StudyStatistics
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.study_report.live_charts import curve_chart, history_chart, running_chart
from rcn_search.study_report.status import STATES, format_duration, format_parameters, prior_lines, process_line

STAMP = "stamp.txt"
NUM_BEST, NUM_NEWEST = 30, 10
"""Trials that are listed: the best ones, and those that started last."""
QUANTILES = (0, 0.25, 0.5, 0.75)
INTERVAL_S = 3.0


class LivePage:
    """The page of a study in a local folder, written again when what it shows has changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._digest = ""
        for asset in asset_files(ASSETS):
            self._put(f"assets/{asset.name}", asset.read_bytes())

    def _put(self, name: str, content: bytes) -> None:
        storage.write_bytes(str(self.folder / name), content)

    def write(self, study: Study) -> bool:
        """Write the page of a study as it is now; whether it differs from the one before."""
        view = study_view(study)
        digest = hashlib.sha256(repr(view).encode(errors="surrogateescape")).hexdigest()
        if digest == self._digest:
            return False
        page = (
            page_environment("rcn_search.study_report")
            .get_template("study.html")
            .render(view, assets="assets/", subject="study", written=datetime.now(UTC), version=__version__)
        )
        self._put("index.html", page.encode(errors="replace"))
        self._put(STAMP, uuid.uuid4().hex.encode())
        self._digest = digest
        return True


def rewrite_on_change(
    page: LivePage, uri: str, *, stop: threading.Event, on_problem: Callable[[str], None] = lambda line: None
) -> None:
    """Read the study again and again, and write its page when it has changed, until ``stop``.

    Reading takes at most a fifth of the time. ``on_problem`` is called once for each failure.
    """
    reported, pause_s = "", INTERVAL_S
    while not stop.wait(pause_s):
        started = time.monotonic()
        try:
            page.write(open_study(uri))
            reported = ""
        except (OSError, ValueError) as error:
            if str(error) != reported:
                reported = str(error)
                on_problem(f"the study could not be read, so the page is not updated: {reported}")
        pause_s = max(INTERVAL_S, 4 * (time.monotonic() - started))


def study_view(study: Study) -> dict[str, Any]:
    """Return what the page shows of a study; equal for two readings of a study that has not changed."""
    statistics = StudyStatistics(study)
    is_running = study.lease is not None and study.lease.is_active
    num_running = statistics.counts["running"] + (statistics.counts["open"] if is_running else 0)
    budget, use = study.config.budget, read_use(study.uri)
    counts = {state: statistics.counts[state] for state in STATES if statistics.counts[state]}
    if is_running and (num_open := counts.pop("open", 0)):
        counts = {"running": counts.get("running", 0) + num_open, **counts}
    best = min(statistics.pareto_front, key=lambda trial: trial.error_pct or 0.0, default=None)
    workers = num_running * budget.workers_per_trial
    return {
        "name": study.config.study.name,
        "uri": study.uri,
        "problems": study.problems,
        "num_trials": statistics.num_trials,
        "num_ended": statistics.num_ended,
        "counts": counts,
        "best": _row(best) if best else None,
        "process": process_line(study, statistics, study.lease, with_times=False).plain,
        "use": {
            "now": f"{workers * budget.cpus_per_trial:g} CPU, {workers * budget.gpus_per_trial:g} GPU",
            "total": f"{use.cpu_s / 3600:.1f} CPU hours, {use.gpu_s / 3600:.1f} GPU hours",
            "trained": f"{format_duration(statistics.busy_s)} in {statistics.num_epochs:,} epochs",
            "limits": [str(limit) for limit in limits(budget, use)],
        },
        "rungs": [
            (
                rung.epoch,
                len(rung.errors_pct),
                rung.num_pruned,
                [rung.quantile(share) for share in (0, 0.25, 0.5, 0.75)],
            )
            for rung in statistics.rungs
            if rung.errors_pct
        ],
        "importances": list(importances(study).items()),
        "prior": prior_lines(study),
        "charts": [chart for chart in (history_chart(study), curve_chart(study), running_chart(study)) if chart],
        "tables": [
            ("Best trials", [_row(trial) for trial in choose_trials(study, state="", sort="error", limit=NUM_BEST)]),
            ("Newest trials", [_row(trial) for trial in study.trials[: -NUM_NEWEST - 1 : -1]]),
        ],
    }


def _row(trial: Trial) -> tuple[int, str, int, str, str, str]:
    error = "" if trial.error_pct is None else f"{trial.error_pct:.2f}"
    details = trial.result.reason if trial.result and trial.result.reason else format_parameters(trial)
    return trial.number, error, len(trial.epochs), format_duration(trial.busy_s), trial.state, details
