"""A learning curve in a terminal, drawn in eighths of a character cell."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_EIGHTHS = " ▁▂▃▄▅▆▇█"
HEIGHT, WIDTH = 8, 60


def plot(values: Sequence[float]) -> list[str]:
    """Draw a bar chart with its highest and lowest value beside it: a bar for each value, or for the lowest of several.

    A first epoch is often ten times the last one, and what matters is at the end. So the scale is that of all but the
    first eighth; bars beyond it are full.

    Args:
        values: One value for each epoch; at least one.

    Returns:
        Lines of at most 70 characters, the axis of epochs last.
    """
    bars = _fold(values)
    low, high = min(bars), max(bars[len(bars) // 8 :])
    span = (high - low) or 1.0
    # The lowest bar keeps an eighth, so that it can be seen.
    levels = [min(8 * HEIGHT, 1 + round((value - low) / span * (8 * HEIGHT - 1))) for value in bars]
    width = max(1, min(4, WIDTH // len(bars)))
    lines = []
    for row in reversed(range(HEIGHT)):
        label = {HEIGHT - 1: f"{high:8.2f}", 0: f"{low:8.2f}"}.get(row, " " * 8)
        cells = "".join(width * _EIGHTHS[min(8, max(0, level - 8 * row))] for level in levels)
        lines.append(f"{label} ┤{cells}")
    axis = f"1{len(values):>{max(1, width * len(bars) - 1)}}" if len(values) > 1 else "1"
    return [*lines, f"{'epoch':>8} └{axis}"]


def _fold(values: Sequence[float]) -> list[float]:
    count = min(WIDTH, len(values))
    edges = [round(index * len(values) / count) for index in range(count + 1)]
    return [min(values[start:end]) for start, end in pairwise(edges)]
