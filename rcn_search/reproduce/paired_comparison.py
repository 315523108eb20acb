"""Ours against the paper and rows against each other, image by image, with bootstrap intervals. NumPy only.

Array names end in their axes: s seeds, n images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rcn_search.evaluation.bootstrap import Array
from rcn_search.evaluation.metrics import image_errors
from rcn_search.evaluation.paired import Difference, paired_difference
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.protocol import EvaluationProtocol
from rcn_search.reproduce.paper_tables import Claim

WORST_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One row on one set of images, over its seeds.

    Attributes:
        image_id_n: Names of the images.
        group_n: Images of one group are not independent.
        error_pct_sn: Error of each image by each seed; NaN where an image is excluded.
        excluded: Number of excluded images by reason, of the first seed that has any.
    """

    image_id_n: NDArray[np.str_]
    group_n: NDArray[np.str_]
    error_pct_sn: Array
    excluded: dict[str, int]

    @property
    def error_pct_n(self) -> Array:
        """Mean over the seeds; NaN where an image is excluded for any of them."""
        mean_n: Array = self.error_pct_sn.mean(axis=0)
        return mean_n

    @property
    def error_pct(self) -> float:
        """Mean over images and seeds."""
        return float(np.nanmean(self.error_pct_n))

    @property
    def seed_errors_pct(self) -> list[float]:
        """Mean over images, by seed."""
        return [float(np.nanmean(error_pct_n)) for error_pct_n in self.error_pct_sn]

    def minus(self, error_pct: float | Array) -> Difference:
        """Mean of what is left of each image's error; images that have none do not count."""
        return paired_difference(self.error_pct_n, np.asarray(error_pct), self.group_n)


def measure(predictions: Sequence[Predictions], protocol: EvaluationProtocol) -> Measured:
    """The errors of a row from the prediction files of its seeds.

    Raises:
        ValueError: The files are of different images, or cannot be measured by ``protocol``.
    """
    first = predictions[0]
    if any(not np.array_equal(each.image_id, first.image_id) for each in predictions):
        raise ValueError(f"{first.meta['method']}: the prediction files of its seeds are of different images")
    errors = [image_errors(each, protocol) for each in predictions]
    return Measured(
        image_id_n=first.image_id,
        group_n=first.group,
        error_pct_sn=np.stack([each.error_pct_n for each in errors]),
        excluded=next((each.excluded for each in errors if each.excluded), {}),
    )


def judge(claim: Claim, measured: Mapping[str, Measured], papers_pct: Mapping[str, float]) -> str:
    """Whether a claim of the paper holds here, in words; of several rows the two that come nearest to break it.

    Args:
        claim: Of the paper.
        measured: Ours, by row, all of the same images.
        papers_pct: The paper's, by row.
    """
    if missing := [row for row in (*claim.lower, *claim.higher) if row not in measured]:
        return f"{claim.words}: cannot be said yet, for {missing[0]} is not measured"
    low = max(claim.lower, key=lambda row: measured[row].error_pct)
    high = min(claim.higher, key=lambda row: measured[row].error_pct)
    error_pct_n = measured[high].error_pct_n
    if claim.worst_tenth:
        # Worst for both together: those worst for one would be better for any other by chance alone.
        error_pct_n = np.where(_worst(error_pct_n + measured[low].error_pct_n), error_pct_n, np.nan)
    gap = measured[low].minus(error_pct_n)
    holds = gap.mean <= 0
    doubt = "" if gap.interval is None or not gap.is_tie else ", but the interval includes 0"
    says, order = ("holds", "below") if holds else ("does not hold", "above")
    in_paper = {low, high} <= papers_pct.keys() and not claim.worst_tenth
    beside = f"; in the paper {papers_pct[high] - papers_pct[low]:.2f} below" if in_paper else ""
    return f"{claim.words}: {says}{doubt}: {low} is {gap} {order} {high}{beside}"


def _worst(error_pct_n: Array) -> NDArray[np.bool_]:
    """The images with the highest errors; those without an error are none of them."""
    worst_n: NDArray[np.bool_] = error_pct_n >= np.nanquantile(error_pct_n, 1 - WORST_SHARE)
    return worst_n
