"""What is printed about a study fits 80 columns."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console, RenderableType

from rcn_search.study.snapshot import open_study
from rcn_search.study.study import Study
from rcn_search.study.winner import Candidate, ReplicationRun, Winner
from rcn_search.study_report.status import study_status, winner_table
from rcn_search.study_report.summary import SearchSummary, print_summary
from rcn_search.study_report.trial_page import trial_list, trial_page


def render(renderable: RenderableType) -> list[str]:
    """Lines on a terminal of 80 columns."""
    console = Console(file=io.StringIO(), width=80)
    console.print(renderable, crop=False)
    return console.file.getvalue().splitlines()


@pytest.fixture
def study(play_study: Callable[..., Study]) -> Study:
    return open_study(play_study(num_trials=12, num_open=1, budget={"trials": 14}).uri)


def test_study_status_fits_80_columns_but_for_the_uri(study: Study) -> None:
    lines = render(study_status(study))
    assert study.uri in lines
    assert max(len(line) for line in lines if line != study.uri) <= 80
    assert not any("…" in line for line in lines)


def test_trial_list_and_page_fit_80_columns_but_for_uris(study: Study) -> None:
    lines = [*render(trial_list(study.trials)), *render(trial_page(study, study.trials[0]))]
    assert max(len(line) for line in lines if "/" not in line) <= 80


def test_print_summary_fits_80_columns(study: Study) -> None:
    console = Console(file=io.StringIO(), width=80)
    print_summary(console, study, SearchSummary(slots=16, wall_s=12_345.6, busy_s=9e4, other_s=1e3, idle_s=2e3))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "overhead 54.4 %" in " ".join(lines)


def test_winner_table_fits_80_columns() -> None:
    runs = tuple(
        ReplicationRun(number=number, seed=number, error_pct=12.34 + number, checkpoint="s3://lab/x")
        for number in range(3)
    )
    compared = {"minus_winner_pct": 1.23, "interval_pct": (-10.12, 12.34), "p": 0.123, "is_tied": True}
    winner = Winner(
        trial=123,
        is_tied=True,
        candidates=(
            Candidate(trial=123, search_error_pct=12.34, runs=runs, error_pct=13.34),
            Candidate(trial=1_234, search_error_pct=12.34, runs=runs, error_pct=14.57, **compared),
            Candidate(trial=7, search_error_pct=12.34, runs=runs[:2], error_pct=None),
        ),
        num_images=24,
    )
    lines = render(winner_table(winner))
    assert lines[0] == "trial 123 wins: 13.34 % over 3 new seeds, tied with trial 1234"
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    assert [line.rstrip().split()[-1] for line in lines[2:]] == ["winner", "tied", "failed"]
