"""Find annotations that were made twice: two of one face, in the same image.

Shape letters: k points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rcn_search.data.importers.points.annotations import Points

SAME_FACE = 0.05
"""Two annotations are of one face if their common points differ by less, as a share of the diagonal of its box."""


def repeated_faces(points: Sequence[Points]) -> Iterator[tuple[int, int]]:
    """List the annotations of one image that repeat an earlier one: (its number, that of the earlier one)."""
    for later, second_k2 in enumerate(points):
        for earlier, first_k2 in enumerate(points[:later]):
            if _is_same(first_k2, second_k2):
                yield later, earlier
                break


def _is_same(first_k2: Points, second_k2: Points) -> bool:
    common_k = np.isfinite(first_k2).all(axis=1) & np.isfinite(second_k2).all(axis=1)
    if not common_k.any():
        return False
    diagonals = [np.hypot(*np.ptp(each[np.isfinite(each).all(axis=1)], axis=0)) for each in (first_k2, second_k2)]
    distance = np.linalg.norm(first_k2[common_k] - second_k2[common_k], axis=1).mean()
    return bool(distance <= SAME_FACE * max(diagonals))
