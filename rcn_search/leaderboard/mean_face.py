"""Mean frontal face on which per-keypoint errors are drawn: the mean of drawn heads, so it shows no real person."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from rcn_search.data.synthetic.head import Head
from rcn_search.data.synthetic.projection import five_of, landmarks_xyz
from rcn_search.data.synthetic.traits import random_traits
from rcn_search.evaluation.metrics import Array
from rcn_search.keypoints import FIVE, IBUG68

_NUM_HEADS = 64


@lru_cache
def mean_face(schema_name: str) -> Array | None:
    """Return the points of the mean face, (K, 2); the 68 points begin at (0, 0) and are 1 wide.

    None for keypoint schemas that the drawn heads do not have.
    """
    if schema_name not in (FIVE.name, IBUG68.name):
        return None
    heads = (landmarks_xyz(Head(random_traits(np.random.default_rng([seed, 0])))) for seed in range(_NUM_HEADS))
    mean_3k = np.mean(np.stack(list(heads)), axis=0)
    mean_3k = 0.5 * (mean_3k + mean_3k[:, list(IBUG68.flip)] * np.array([[-1.0], [1.0], [1.0]]))
    low_2, high_2 = mean_3k[:2].min(axis=1), mean_3k[:2].max(axis=1)
    points_3k = mean_3k if schema_name == IBUG68.name else five_of(mean_3k)
    return np.asarray((points_3k[:2].T - low_2) / (high_2[0] - low_2[0]))
