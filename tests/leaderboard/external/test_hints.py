"""Each mistake is recognized from the distances, and none is where a method is just as good as it is."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rcn_search.keypoints import FIVE
from rcn_search.leaderboard.external.hints import explain_distances

Floats = NDArray[np.float64]

NUM = 20
FACE = np.array([[45.0, 48], [75, 48], [60, 66], [48, 84], [72, 84]])
RANDOM = np.random.default_rng(0)
CROP = FACE + RANDOM.normal(0, 2, (NUM, 5, 2))  # crops of 160 px, of which 2 px of the image are 1 px
TRUE = CROP * 2 + RANDOM.uniform(100, 300, (NUM, 1, 2))
NOISE = RANDOM.normal(0, 0.3, TRUE.shape)
ALL = np.ones((NUM, 5), dtype=np.bool_)


def explain(pred: Floats, counts: NDArray[np.bool_] = ALL) -> str:
    return explain_distances(pred, TRUE, CROP, counts_nk=counts, flip=FIVE.flip)


@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (lambda points: points[..., ::-1], "x and y may be exchanged"),
        (lambda points: points[:, list(FIVE.flip)], "left and right may be exchanged"),
        (lambda points: points.transpose(0, 2, 1).reshape(NUM, 5, 2), "all x may come before all y"),
        (lambda points: points.reshape(NUM, 2, 5).transpose(0, 2, 1), "x and y of each point may follow each other"),
        (lambda points: points + np.array([7, -3]), r"all points may be off by \((6.9|7.0).*, -(2.9|3.0).*\) px;"),
        (lambda points: points - 5, r"all points may be off by .* px, as --pixel-offset (4.9|5.0|5.1)\d? mends"),
        (lambda points: points / 640, r"all points may have to be multiplied by (63|64)"),
        (lambda points: CROP + (points - TRUE) / 2, "the points may be in pixels of the stored crop"),
    ],
)
def test_explain_distances_recognizes_mistakes(mistake: Callable[[Floats], Floats], hint: str) -> None:
    assert re.match(hint, explain(mistake(TRUE + NOISE)))


def test_explain_distances_of_usual_errors_says_nothing() -> None:
    assert explain(TRUE) == ""
    assert explain(TRUE + 0.01) == ""
    assert explain(TRUE + NOISE) == ""
    assert explain(TRUE + 3 * NOISE + 0.5) == ""
    assert explain(TRUE + 60 * NOISE) == ""
    assert explain(np.tile(TRUE.mean(axis=1, keepdims=True), (1, 5, 1))) == ""


def test_explain_distances_compares_points_that_count_alone() -> None:
    counts = ALL.copy()
    counts[:, 2] = counts[0, 1:] = False
    pred = TRUE + 5
    pred[~counts] = np.nan
    assert explain(pred, counts).startswith("all points may be off by (5.00, 5.00) px, as --pixel-offset -5.00 mends")
