"""Data for the charts of a study's live page, bounded in size; `chart.js` of the leaderboard's site draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rcn_search.study.study import Study
from rcn_search.study.trial import Trial, error_key

MAX_POINTS = 300
"""Points of a curve."""
NUM_CURVES = 16
Chart = dict[str, Any]


def history_chart(study: Study) -> Chart | None:
    """Chart the lowest error of complete trials against the number of ended trials."""
    ended = sorted((trial for trial in study.trials if trial.result), key=_ended_at)
    best, best_n = np.inf, []
    for trial in ended:
        if trial.state == "complete" and trial.is_feasible and trial.error_pct is not None:
            best = min(best, trial.error_pct)
        best_n.append(best)
    first = next((index for index, error in enumerate(best_n) if np.isfinite(error)), None)
    if first is None or study.config.runs or first + 1 >= len(best_n):
        return None
    shown = _spread(first, len(best_n))
    return _lines(
        "Lowest error so far",
        "Ended trials",
        [index + 1 for index in shown],
        [{"name": "lowest error", "y": [round(best_n[index], 4) for index in shown]}],
        x_name="trials",
    )


def curve_chart(study: Study) -> Chart | None:
    """Chart the learning curves of the best complete trials."""
    num_epochs = study.config.budget.epochs
    trials = [trial for trial in study.trials if trial.state == "complete" and len(trial.epochs) == num_epochs]
    if not trials or num_epochs < 2:
        return None
    epochs = [index + 1 for index in _spread(0, num_epochs)]
    series = [
        {"name": f"trial {trial.number}", "y": [round(trial.epochs[epoch].val_error_pct, 4) for epoch in epochs]}
        for trial in sorted(trials, key=error_key)[:NUM_CURVES]
    ]
    return _lines("Learning curves of the best trials", "Epoch", epochs, series, x_name="epoch")


def running_chart(study: Study) -> Chart | None:
    """Chart how many trials had started and not ended, against the minutes since the first one."""
    spans = [
        (trial.record.created_at, trial.result.ended_at)
        for trial in study.trials
        if trial.record.created_at and trial.result and trial.result.ended_at
    ]
    if len(spans) < 2:
        return None
    start_n, end_n = np.sort(np.array(spans), axis=0).T
    time_x = np.linspace(start_n[0], end_n[-1], MAX_POINTS)
    running_x = np.searchsorted(start_n, time_x, side="right") - np.searchsorted(end_n, time_x, side="right")
    minutes = np.round((time_x - start_n[0]) / 60, 3)
    if minutes[-1] <= 0:
        return None
    series = [{"name": "trials", "y": running_x.tolist()}]
    return _lines(
        "Ended trials that ran at once", "Minutes", minutes.tolist(), series, x_name="minute", unit="", y="Trials"
    )


def _lines(
    label: str, x_label: str, x: Sequence[float], series: list[Chart], *, x_name: str, unit: str = " %", y: str = ""
) -> Chart:
    return {
        "kind": "lines",
        "label": label,
        "x_label": x_label,
        "y_label": y or "Validation error, %",
        "x": list(x),
        "x_name": x_name,
        "unit": unit,
        "shown": 5,
        "series": series,
    }


def _spread(first: int, end: int) -> list[int]:
    """Return at most `MAX_POINTS` indices from ``first`` to ``end`` - 1, both included."""
    indices = np.unique(np.linspace(first, end - 1, min(MAX_POINTS, end - first)).round().astype(int))
    return [int(index) for index in indices]


def _ended_at(trial: Trial) -> tuple[float, int]:
    assert trial.result is not None
    return trial.result.ended_at or 0.0, trial.number
