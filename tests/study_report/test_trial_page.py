"""Trials in a terminal: learning curves."""

from __future__ import annotations

import pytest

from rcn_search.study_report.trial_page import plot


@pytest.mark.parametrize(
    "values", [[5.0], [3.0, 3.0], [9.0, 5.0, 4.0], [1000.0] + [10 - epoch / 50 for epoch in range(300)]]
)
def test_plot_fits_its_width_and_shows_the_lowest_value(values: list[float]) -> None:
    *bars, axis = plot(values)
    assert all(len(line) <= 10 + 60 for line in (*bars, axis))
    assert axis.endswith(str(len(values)))
    assert bars[-1].startswith(f"{min(values):8.2f} ┤")
    assert " " not in bars[-1].partition("┤")[2]
