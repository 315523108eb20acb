from __future__ import annotations

import math

import numpy as np
import pytest

from rcn_search.inference.video.follow_faces import Jitter
from rcn_search.inference.video.one_euro import MIN_CUTOFF_HZ, OneEuroFilter


def test_one_euro_filter_first_step_is_exponential_smoothing_of_the_cutoff() -> None:
    """The formula of the paper, by hand: at the first step the smoothed speed is a part of the measured one."""
    smooth = OneEuroFilter()
    start, moved = np.zeros((1, 2)), np.array([[10.0, 0.0]])
    np.testing.assert_array_equal(smooth(start, 0.0, 100.0), start)
    elapsed_s = 0.04
    speed = 10 / elapsed_s / 100 * (2 * math.pi * elapsed_s) / (2 * math.pi * elapsed_s + 1)
    ratio = 2 * math.pi * (MIN_CUTOFF_HZ + 12.0 * speed) * elapsed_s
    expected = 10 * ratio / (ratio + 1)
    np.testing.assert_allclose(smooth(moved, elapsed_s, 100.0), [[expected, 0.0]], rtol=1e-6)


def test_one_euro_filter_calms_a_resting_face_and_follows_a_moving_one() -> None:
    rng = np.random.default_rng(0)
    rest = rng.normal(50, 0.5, (200, 5, 2))
    moving = np.arange(200)[:, None, None] * 3.0 + np.zeros((1, 5, 2))
    for points, bound in ((rest, 0.35), (moving, 4.0)):
        smooth, out = OneEuroFilter(), []
        for index, points_k2 in enumerate(points):
            out.append(smooth(points_k2, index / 25, 100.0))
        settled = np.abs(np.array(out)[100:] - (50 if points is rest else points[100:]))
        assert settled.mean() < bound
    assert np.abs(rest - 50).mean() > 0.38


def test_one_euro_filter_time_that_does_not_advance_starts_anew() -> None:
    smooth = OneEuroFilter()
    smooth(np.zeros((1, 2)), 1.0, 9.0)
    np.testing.assert_array_equal(smooth(np.ones((1, 2)), 1.0, 9.0), [[1, 1]])


def test_jitter_is_the_distance_from_the_middle_of_the_neighbors() -> None:
    jitter = Jitter()
    assert math.isnan(jitter.mean_pct)
    for x in (0.0, 10.0, 0.0, -10.0):
        jitter.add(1, np.array([[x, 0.0]], np.float32), 100.0)
    assert jitter.mean_pct == pytest.approx(5.0)  # 10 px, then 0
    jitter.add(2, np.zeros((1, 2), np.float32), 100.0)
    assert jitter.mean_pct == pytest.approx(5.0)
