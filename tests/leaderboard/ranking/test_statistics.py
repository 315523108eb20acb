from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rcn_search.leaderboard.ranking.statistics import RankRange, holm, paired_p, rank_ranges


def alone(count: int) -> np.ndarray:
    return np.arange(count).astype(str)


def test_paired_p_without_groups_is_paired_t_test() -> None:
    errors = np.random.default_rng(0).gamma(4, 1.5, (4, 60)) + np.array([[0.0], [0.1], [0.5], [2.0]])
    p = paired_p(errors, alone(60))
    for i in range(4):
        assert p[i, i] == 1
        for j in range(4):
            if i != j:
                assert p[i, j] == pytest.approx(stats.ttest_rel(errors[i], errors[j]).pvalue, rel=1e-9)


def test_paired_p_sums_images_of_a_group() -> None:
    """Ten copies of each image give the p of one copy."""
    errors = np.random.default_rng(1).gamma(4, 1.5, (3, 40))
    ten_times = np.repeat(errors, 10, axis=1)
    np.testing.assert_allclose(paired_p(ten_times, np.repeat(alone(40), 10)), paired_p(errors, alone(40)), rtol=1e-9)
    assert paired_p(ten_times, alone(400))[0, 1] < paired_p(errors, alone(40))[0, 1]


def test_paired_p_almost_equal_rows_keeps_precision() -> None:
    base = np.random.default_rng(2).gamma(4, 1.5, 500)
    shift = np.random.default_rng(3).normal(0, 1e-6, 500)
    p = paired_p(np.stack([base, base + shift, 50 * base]), alone(500))
    assert p[0, 1] == pytest.approx(stats.ttest_rel(base, base + shift).pvalue, rel=1e-3)


def test_paired_p_constant_difference_is_zero() -> None:
    base = np.arange(10.0)
    p = paired_p(np.stack([base, base, base + 1]), alone(10))
    assert p[0, 1] == 1
    assert p[0, 2] == p[2, 0] == 0
    assert (paired_p(np.stack([base, base + 1]), np.array(["one"] * 10)) == 1).all()


def plain_holm(p: list[float], alpha: float) -> list[bool]:
    """Step down: the smallest against alpha / m, the next against alpha / (m - 1), until one fails."""
    rejected = [False] * len(p)
    for step, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[index] > alpha / (len(p) - step):
            break
        rejected[index] = True
    return rejected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=12))
def test_holm_matches_stepwise_procedure(p: list[float]) -> None:
    assert (holm(np.array(p)) <= 0.05).tolist() == plain_holm(p, 0.05)


def test_rank_ranges_spans_insignificant_differences() -> None:
    rng = np.random.default_rng(4)
    base = rng.gamma(4, 1.5, 800)
    rows = [base + rng.normal(shift, 1, 800) for shift in (0.0, 0.02, 1.0, 1.01, 3.0)]
    assert list(map(str, rank_ranges(np.stack(rows), alone(800)))) == ["1–2", "1–2", "3–4", "3–4", "5"]
    assert rank_ranges(np.stack(rows[:1]), alone(800)) == [RankRange(1, 1)]
    assert rank_ranges(np.stack(rows[::-1]), alone(800))[0] == RankRange(5, 5)


def test_rank_ranges_equal_methods_rarely_differ() -> None:
    """Holm over all pairs: at most one table in twenty may call equal rows different."""
    wrong = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rows = rng.gamma(4, 1.5, 300) + rng.normal(0, 1, (8, 300))
        wrong += any(rank != (1, 8) for rank in rank_ranges(rows, alone(300)))
    assert wrong <= 18  # 10 expected; 18 in one of a hundred such counts


def test_rank_ranges_p_that_equals_alpha_is_significant() -> None:
    errors = np.stack([np.arange(9.0), np.arange(9.0) + np.array([1, 1, 1, 1, 1, 1, 1, 1, -1])])
    p = float(paired_p(errors, alone(9))[0, 1])
    assert rank_ranges(errors, alone(9), alpha=p) == [RankRange(1, 1), RankRange(2, 2)]
    assert rank_ranges(errors, alone(9), alpha=0.999 * p) == [RankRange(1, 2), RankRange(1, 2)]
