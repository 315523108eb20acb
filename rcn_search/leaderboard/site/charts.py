"""Data for the charts of a table, small enough to be part of its page. Axes: n images, x points of a curve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rcn_search.evaluation.metrics import Array, cumulative_errors
from rcn_search.leaderboard.records import Entry
from rcn_search.leaderboard.site.urls import entry_page
from rcn_search.leaderboard.table import LeaderboardRow, LeaderboardTable, load_errors

MAX_CURVES = 24
NUM_CURVE_POINTS = 161
NUM_SHOWN = 5
MAX_POINTS = 1_000
_BEYOND_THRESHOLD = 1.5
Chart = dict[str, Any]
COSTS: tuple[tuple[str, Callable[[Entry], float | None]], ...] = (
    ("Parameters", lambda entry: entry.num_params),
    ("Multiply-adds", lambda entry: entry.multiply_adds),
    ("Latency, ms", lambda entry: entry.latency_ms),
)


def ced_chart(leaderboard: str, table: LeaderboardTable) -> Chart | None:
    """Chart the cumulative errors of the best rows with per-image errors, sampled at `NUM_CURVE_POINTS` errors.

    Each sample is exact; only steps between two samples are not shown. One array of errors is in memory at a time.
    """
    if table.protocol is None:
        return None
    threshold = table.protocol.threshold_pct
    error_pct_x = np.linspace(0.0, _BEYOND_THRESHOLD * threshold, NUM_CURVE_POINTS)
    series = []
    for row, label in zip(table.rows, method_labels(table.rows), strict=True):
        if row.entry is None or row.entry.errors_sha256 is None or row.entry_id is None:
            continue
        try:
            error_pct_n = load_errors(leaderboard, row.entry)
        except (ValueError, OSError):
            continue  # the problems of the leaderboard list it
        share_x = sample_ced(error_pct_n[np.isfinite(error_pct_n)], error_pct_x)
        series.append({"name": label, "href": entry_page(row.entry_id), "y": np.round(share_x, 2).tolist()})
        if len(series) == MAX_CURVES:
            break
    if not series:
        return None
    return {
        "kind": "lines",
        "label": "Cumulative error curves",
        "x_label": "Error of an image, %",
        "y_label": "Images up to this error, %",
        "x": np.round(error_pct_x, 4).tolist(),
        "y_max": 100,
        "mark": threshold,
        "shown": NUM_SHOWN,
        "series": series,
    }


def sample_ced(error_pct_n: Array, error_pct_x: Array) -> Array:
    """Compute the share of images with at most each error, in percent."""
    errors, shares = cumulative_errors(error_pct_n)
    return np.asarray(shares[np.searchsorted(errors, error_pct_x, side="right") - 1])


def cost_chart(table: LeaderboardTable) -> Chart | None:
    """Chart the error against the cost of a model, with the Pareto front."""
    rows = [row for row in table.rows if row.entry]
    costs = [(label, cost) for label, cost in COSTS if any(row.entry and cost(row.entry) for row in rows)]
    if len(rows) < 2 or not costs:
        return None
    errors = [row.error_pct for row in rows]
    entries = [row.entry for row in rows if row.entry]
    fronts = [pareto_front([cost(entry) for entry in entries], errors) for _, cost in costs]
    labels = method_labels(rows)
    points = [
        {
            "name": labels[i],
            "href": entry_page(rows[i].entry_id or ""),
            "error": round(errors[i], 4),
            "low": entries[i].ci_low_pct,
            "high": entries[i].ci_high_pct,
            "cost": [cost(entries[i]) for _, cost in costs],
            "front": [i in front for front in fronts],
        }
        for i in sorted(set(range(min(len(rows), MAX_POINTS))).union(*fronts))
    ]
    return {
        "kind": "scatter",
        "label": "Error against cost",
        "costs": [label for label, _ in costs],
        "y_label": "Error, %",
        "points": points,
        "left_out": len(rows) - len(points),
    }


def pareto_front(costs: Sequence[float | None], errors: Sequence[float]) -> set[int]:
    """Find the indices of rows for which no other row is better in cost or error without being worse in the other."""
    front: set[int] = set()
    least_error = np.inf
    known = [(cost, errors[i], i) for i, cost in enumerate(costs) if cost is not None]
    for cost, error, i in sorted(known):
        if error < least_error:
            front.add(i)
            least_error, least_error_cost = error, cost
        elif error == least_error and cost == least_error_cost:
            front.add(i)
    return front


def method_labels(rows: Sequence[LeaderboardRow]) -> list[str]:
    """Label rows with their method, and with the run if two entries of a table have the same method."""
    counts = Counter(row.method for row in rows if row.entry)
    return [
        f"{row.method} ({row.entry.run_id})" if row.entry and counts[row.method] > 1 else row.method for row in rows
    ]
