"""What the charts of a table show, small enough to stand in its page whatever the number of images.

Array names end in their axes: n images, x places on the axis of errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rcn_search.evaluation.metrics import Array
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
    """Cumulative error curves of the best rows whose errors are on the leaderboard, read off at `NUM_PLACES` errors.

    Each value is exact: only the steps between two places are not shown. One array of errors is held at a time.
    """
    if table.protocol is None:
        return None
    threshold = table.protocol.threshold_pct
    place_x = np.linspace(0.0, _BEYOND_THRESHOLD * threshold, NUM_CURVE_POINTS)
    series = []
    labels = method_labels(table.rows)
    for row, label in zip(table.rows, labels, strict=True):
        if row.entry is None or row.entry.errors_sha256 is None or row.entry_id is None:
            continue
        try:
            error_pct_n = load_errors(leaderboard, row.entry)
        except (ValueError, OSError):
            continue  # the leaderboard's problems say so
        share_x = share_up_to(error_pct_n[np.isfinite(error_pct_n)], place_x)
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
        "x": np.round(place_x, 4).tolist(),
        "y_max": 100,
        "mark": threshold,
        "shown": NUM_SHOWN,
        "series": series,
    }


def share_up_to(error_pct_n: Array, place_x: Array) -> Array:
    """Share of images whose error is at most each place, in percent."""
    count_x = np.searchsorted(np.sort(error_pct_n), place_x, side="right")
    return np.asarray(100.0 * count_x / len(error_pct_n))


def cost_chart(table: LeaderboardTable) -> Chart | None:
    """Error against what a model costs, with the front: rows that no other row beats in both."""
    rows = [row for row in table.rows if row.entry]
    costs = [(label, of) for label, of in COSTS if any(row.entry and of(row.entry) for row in rows)]
    if len(rows) < 2 or not costs:
        return None
    errors = [row.error_pct for row in rows]
    entries = [row.entry for row in rows if row.entry]
    fronts = [pareto_front([of(entry) for entry in entries], errors) for _, of in costs]
    in_front = set().union(*fronts)
    labels = method_labels(rows)
    shown = sorted(in_front | set(range(min(len(rows), MAX_POINTS))))
    points = []
    for place in shown:
        row, entry = rows[place], entries[place]
        points.append(
            {
                "name": labels[place],
                "href": entry_page(row.entry_id or ""),
                "error": round(row.error_pct, 4),
                "low": entry.ci_low_pct,
                "high": entry.ci_high_pct,
                "cost": [of(entry) for _, of in costs],
                "front": [place in front for front in fronts],
            }
        )
    return {
        "kind": "scatter",
        "label": "Error against cost",
        "costs": [label for label, _ in costs],
        "y_label": "Error, %",
        "points": points,
        "left_out": len(rows) - len(points),
    }


def pareto_front(costs: Sequence[float | None], errors: Sequence[float]) -> set[int]:
    """Places of those that none undercuts in one of cost and error without costing more in the other."""
    front: set[int] = set()
    least = np.inf
    known = [(cost, errors[place], place) for place, cost in enumerate(costs) if cost is not None]
    for cost, error, place in sorted(known):
        if error < least:
            front.add(place)
            least, least_cost = error, cost
        elif error == least and cost == least_cost:
            front.add(place)
    return front


def method_labels(rows: Sequence[LeaderboardRow]) -> list[str]:
    """Names of methods, with the run where two entries of a table have the same."""
    counts = Counter(row.method for row in rows if row.entry)
    return [
        f"{row.method} ({row.entry.run_id})" if row.entry and counts[row.method] > 1 else row.method for row in rows
    ]
