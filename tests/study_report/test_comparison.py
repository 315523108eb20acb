"""Comparison of studies: grouping by seeds, curves, table, differences, figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rcn_search.errors import RcnSearchError
from rcn_search.study.study import Study
from rcn_search.study_report.comparison import (
    comparison_table,
    describe_differences,
    group_studies,
    mean_and_interval,
    measures,
)
from tests.conftest import CommandLine
from tests.support.studies import epoch_result

PRICES = {"per_cpu_hour": 3600.0, "limit": 1e9}


def play(study: Study, seed: int, num_trials: int) -> Study:
    """Run trials of random errors, every third of which is pruned."""
    rng = np.random.default_rng(seed)
    for _ in range(num_trials):
        trial = study.ask()
        assert trial is not None
        error_pct = 5 + 15 * rng.random() / (1 + trial.number)
        study.report(trial.number, [epoch_result(epoch, error_pct, other_s=seed) for epoch in (1, 2)])
        study.finish(trial.number, "pruned" if trial.number % 3 == 1 else "complete")
    return Study.open(study.uri)


@pytest.fixture
def three(play_study: Callable[..., Study], tmp_path: Path) -> list[Study]:
    """A search with two seeds, and one with another sampler."""
    changes = (
        {"study": {"name": "tiny", "seed": 0}},
        {"study": {"name": "tiny", "seed": 1}},
        {"sampler": {"name": "random"}},
    )
    budget = {"trials": 12, "epochs": 4, "max_cost": PRICES}
    return [
        play(play_study(str(tmp_path / f"study{seed}"), num_trials=0, budget=budget, **change), seed, 12)
        for seed, change in enumerate(changes)
    ]


def best_after(study: Study, num_ended: int) -> float:
    errors = [trial.error_pct for trial in study.trials[:num_ended] if trial.state == "complete" and trial.is_feasible]
    return min([error for error in errors if error is not None], default=float("nan"))


def test_group_studies_joins_those_that_differ_in_seeds_alone(three: list[Study]) -> None:
    methods = group_studies(three)
    assert [[study.uri for study in method.studies] for method in methods] == [
        [three[0].uri, three[1].uri],
        [three[2].uri],
    ]
    assert [method.name for method in methods] == ["tiny (study0)", "tiny (study2)"]
    assert measures(methods) == ["trials", "hours", "cost"]
    lines = list(describe_differences(methods))
    assert lines[0] == "tiny (study2) differs from tiny (study0):"
    assert any(line.startswith("  sampler.name: tpe → random") for line in lines)
    assert not any("cannot be compared" in line for line in lines)


def test_curve_is_the_best_so_far_of_each_seed(three: list[Study]) -> None:
    method = group_studies(three)[0]
    grid_x, error_sx = method.curve("trials")
    assert grid_x[-1] == 12
    for study, error_x in zip(method.studies, error_sx, strict=True):
        assert error_x.tolist() == [best_after(study, int(x)) for x in grid_x]
    assert np.isfinite(error_sx).all()
    assert len(np.unique(error_sx[0])) > 2, "it falls in steps"
    (hours_x, _), (cost_x, _) = method.curve("hours"), method.curve("cost")
    assert (cost_x[0], cost_x[-1]) == pytest.approx((3600 * hours_x[0], 3600 * hours_x[-1]))  # 3,600 for a core's hour
    busy_s = min(sum(trial.busy_s for trial in study.trials) for study in method.studies)
    assert method.total("hours") == pytest.approx(busy_s / 3600)
    assert method.error_at("trials", 5).tolist() == pytest.approx(
        [best_after(study, 5) for study in method.studies], nan_ok=True
    )


def test_mean_and_interval_is_students() -> None:
    error_sx = np.array([[5.0, 4.0], [7.0, 4.0], [6.0, 4.0]])
    mean_x, low_x, high_x = mean_and_interval(error_sx)
    expected = stats.t.interval(0.95, 2, loc=6.0, scale=stats.sem([5.0, 7.0, 6.0]))
    assert (mean_x[0], low_x[0], high_x[0]) == pytest.approx((6.0, *expected))
    assert (low_x[1], high_x[1]) == (4.0, 4.0)
    assert [values.tolist() for values in mean_and_interval(error_sx[:1])] == [[5.0, 4.0]] * 3


def test_group_studies_refuses_what_has_no_curve(
    play_study: Callable[..., Study], three: list[Study], tmp_path: Path
) -> None:
    with pytest.raises(RcnSearchError, match="named twice"):
        group_studies([three[0], three[0]])
    with pytest.raises(RcnSearchError, match=r"no trial of .*empty is complete yet"):
        group_studies([three[0], play_study(str(tmp_path / "empty"), num_trials=0)])


def test_describe_differences_warns_of_other_validation_images(
    play_study: Callable[..., Study], three: list[Study], tmp_path: Path
) -> None:
    other = play_study(
        str(tmp_path / "other"),
        base={**three[0].config.base, "data": {"uri": three[0].config.base["data"]["uri"], "num_val": 7}},
    )
    assert any("cannot be compared" in line for line in describe_differences(group_studies([three[0], other])))


def test_comparison_table_compares_at_the_end_of_the_shortest(
    play_study: Callable[..., Study], three: list[Study], tmp_path: Path
) -> None:
    short = play_study(str(tmp_path / "short"), num_trials=5, scheduler={"name": "none"})
    table = comparison_table(group_studies([three[0], short]))
    headings = [str(column.header) for column in table.columns]
    assert headings[6] == "best % at 5 trials"
    first, second = (list(column.cells) for column in (table.columns[4], table.columns[6]))
    assert first == [f"{three[0].best_trial.error_pct:.2f}", f"{short.best_trial.error_pct:.2f}"]  # type: ignore[union-attr]
    assert second == [f"{best_after(each, 5):.2f}" for each in (three[0], short)]


def test_study_compare_prints_and_draws(three: list[Study], cli: CommandLine, tmp_path: Path) -> None:
    uris = [study.uri for study in three]
    printed = cli.run("study", "compare", *uris, "--out", "compare.png")
    assert "tiny (study0)" in printed
    assert "sampler.name: tpe → random" in printed
    assert Path("compare.png").read_bytes().startswith(b"\x89PNG")
    cli.run("study", "compare", *uris, "--out", "compare.html")
    page = Path("compare.html").read_text()
    assert page.count("Plotly.newPlot(") >= 3
    assert "default-src 'none'" in page
    assert "tpe → random" in page
    assert "must end in one of" in cli.fail("study", "compare", *uris, "--out", "compare.gif")
