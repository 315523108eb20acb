"""Means over seeds, differences with intervals, and orderings in words."""

from __future__ import annotations

import numpy as np
import pytest

from rcn_search.evaluation.metrics import bootstrap_interval
from rcn_search.reproduce.paired_comparison import RowErrors, check_claim
from rcn_search.reproduce.paper_tables import Claim

NUM_IMAGES = 200


def measured(*error_pct_n: np.ndarray, excluded: dict[str, int] | None = None) -> RowErrors:
    names = np.array([f"image{index}" for index in range(NUM_IMAGES)])
    return RowErrors(image_id_n=names, group_n=names, error_pct_sn=np.stack(error_pct_n), excluded=excluded or {})


@pytest.fixture
def easy() -> np.ndarray:
    return np.random.default_rng(0).uniform(3.0, 9.0, NUM_IMAGES)


def test_minus_uses_the_mean_over_seeds_of_each_image(easy: np.ndarray) -> None:
    row = measured(easy, easy + 2)
    assert row.seed_errors_pct == pytest.approx([easy.mean(), easy.mean() + 2])
    difference = row.minus(5.0)
    assert difference.mean == pytest.approx(easy.mean() + 1 - 5)
    low, high = bootstrap_interval(easy + 1, row.group_n)
    assert difference.interval == pytest.approx((low - 5, high - 5))


def test_row_errors_image_excluded_for_one_seed_does_not_count(easy: np.ndarray) -> None:
    gap = easy.copy()
    gap[0] = np.nan
    row = measured(easy, gap)
    assert row.error_pct == pytest.approx(easy[1:].mean())
    assert row.minus(0.0).mean == pytest.approx(easy[1:].mean())


def test_check_claim_compares_image_by_image(easy: np.ndarray) -> None:
    # Faces differ much more than the rows do: only a paired interval can tell the two apart.
    noise = np.random.default_rng(1).normal(0, 0.1, NUM_IMAGES)
    rows = {"RCN": measured(easy - 0.2 + noise), "SumNet": measured(easy)}
    papers = {"RCN": 6.0, "SumNet": 6.34}
    verdict = check_claim(Claim("RCN is better", ("RCN",), ("SumNet",)), rows, papers)
    assert verdict.startswith("RCN is better: holds: RCN is 0.2")
    assert verdict.endswith(" below SumNet; in the paper 0.34 below")
    low, high = map(float, verdict.split("interval ")[1].split(")")[0].split(" to "))
    assert 0.1 < low < 0.2 < high < 0.3

    verdict = check_claim(Claim("SumNet is better", ("SumNet",), ("RCN",)), rows, {})
    assert verdict.startswith("SumNet is better: does not hold: SumNet is 0.2")
    assert verdict.endswith(" above RCN")


def test_check_claim_reports_a_difference_that_may_be_chance(easy: np.ndarray) -> None:
    noise = np.random.default_rng(1).normal(0, 3, NUM_IMAGES)
    rows = {"A": measured(easy - noise + noise.mean() - 0.01), "B": measured(easy)}
    assert ": holds, but the interval includes 0: A is 0.01 points (" in check_claim(
        Claim("x", ("A",), ("B",)), rows, {}
    )
    assert ": does not hold, but the interval includes 0: B is" in check_claim(Claim("x", ("B",), ("A",)), rows, {})


def test_check_claim_compares_the_closest_of_several_rows(easy: np.ndarray) -> None:
    rows = {"best": measured(easy), "near": measured(easy + 1), "far": measured(easy + 9)}
    assert "best is 1.00 points" in check_claim(Claim("x", ("best",), ("near", "far")), rows, {})
    assert "near is 8.00 points" in check_claim(Claim("x", ("best", "near"), ("far",)), rows, {})
    assert (
        check_claim(Claim("x", ("best",), ("near", "lost")), rows, {})
        == "x: not known yet, because lost is not measured"
    )


def test_check_claim_chooses_the_worst_tenth_by_both_rows(easy: np.ndarray) -> None:
    # Independent noise of equal size: were the worst chosen by one row alone, the other would look better there.
    rng = np.random.default_rng(3)
    one, other = easy + rng.normal(0, 3, NUM_IMAGES), easy + rng.normal(0, 3, NUM_IMAGES)
    rows = {"one": measured(one - one.mean()), "other": measured(other - other.mean())}
    verdict = check_claim(Claim("x", ("one",), ("other",), worst_tenth=True), rows, {})
    assert "but the interval includes 0" in verdict
    worst = np.argsort(one - one.mean() + other - other.mean())[-NUM_IMAGES // 10 :]
    gap = abs((rows["one"].error_pct_n - rows["other"].error_pct_n)[worst].mean())
    assert f"{gap:.2f} points" in verdict
