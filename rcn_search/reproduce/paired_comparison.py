"""Compare the errors of rows with the paper's and with each other, image by image, with bootstrap intervals.

Array names end in their axes: s seeds, n images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.bootstrap import Array
from rcn_search.evaluation.metrics import image_errors
from rcn_search.evaluation.paired import Difference, paired_difference
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.protocol import EvaluationProtocol
from rcn_search.reproduce.paper_tables import Claim

WORST_SHARE = 0.1
"""Share of the images that `Claim.worst_tenth` is about."""


@dataclass(frozen=True, kw_only=True)
class RowErrors:
    """Errors of one row on one set of images, by seed.

    Attributes:
        group_n: Group of each image; images of one group are not independent.
        error_pct_sn: Error of each image by each seed; NaN where an image is excluded.
        excluded: Number of excluded images by reason, of the first seed that has any.
    """

    image_id_n: NDArray[np.str_]
    group_n: NDArray[np.str_]
    error_pct_sn: Array
    excluded: dict[str, int]

    @property
    def error_pct_n(self) -> Array:
        """Mean over the seeds, %; NaN where an image is excluded for any of them."""
        return np.asarray(self.error_pct_sn.mean(axis=0))

    @property
    def error_pct(self) -> float:
        """Mean over images and seeds, %."""
        return float(np.nanmean(self.error_pct_n))

    @property
    def seed_errors_pct(self) -> list[float]:
        """Mean over images, by seed, %."""
        return [float(np.nanmean(error_pct_n)) for error_pct_n in self.error_pct_sn]

    def minus(self, error_pct: float | Array) -> Difference:
        """Subtract an error from that of each image and average; images without an error do not count."""
        return paired_difference(self.error_pct_n, np.asarray(error_pct), self.group_n)


def row_errors(predictions: Sequence[Predictions], protocol: EvaluationProtocol) -> RowErrors:
    """Compute the errors of a row from the predictions of its seeds.

    Raises:
        RcnSearchError: The predictions are of different images, or cannot be scored by ``protocol``.
    """
    first = predictions[0]
    if any(not np.array_equal(other.image_id, first.image_id) for other in predictions):
        raise RcnSearchError(f"{first.meta['method']}: the prediction files of its seeds are of different images")
    errors = [image_errors(of_seed, protocol) for of_seed in predictions]
    return RowErrors(
        image_id_n=first.image_id,
        group_n=first.group,
        error_pct_sn=np.stack([of_seed.error_pct_n for of_seed in errors]),
        excluded=next((of_seed.excluded for of_seed in errors if of_seed.excluded), {}),
    )


def check_claim(claim: Claim, measured: Mapping[str, RowErrors], paper_pct: Mapping[str, float]) -> str:
    """Say whether a claim of the paper holds for our errors by row, all of the same images.

    Of several rows, the two that come closest to breaking the claim count.
    """
    if missing := [row for row in (*claim.lower, *claim.higher) if row not in measured]:
        return f"{claim.words}: not known yet, because {missing[0]} is not measured"
    low = max(claim.lower, key=lambda row: measured[row].error_pct)
    high = min(claim.higher, key=lambda row: measured[row].error_pct)
    error_pct_n = measured[high].error_pct_n
    if claim.worst_tenth:
        # Worst for both together: images that are worst for one row would be better for any other by chance alone.
        sum_n = error_pct_n + measured[low].error_pct_n
        error_pct_n = np.where(sum_n >= np.nanquantile(sum_n, 1 - WORST_SHARE), error_pct_n, np.nan)
    gap = measured[low].minus(error_pct_n)
    doubt = "" if gap.interval is None or not gap.is_tie else ", but the interval includes 0"
    verdict, order = ("holds", "below") if gap.mean <= 0 else ("does not hold", "above")
    has_paper = {low, high} <= paper_pct.keys() and not claim.worst_tenth
    paper = f"; in the paper {paper_pct[high] - paper_pct[low]:.2f} below" if has_paper else ""
    return f"{claim.words}: {verdict}{doubt}: {low} is {gap} {order} {high}{paper}"
