"""Radius of each predicted point that holds the true point with 90 %: a table by point and confidence, in checkpoints.

The table is fitted by split conformal prediction (Vovk et al. 2005; Angelopoulos and Bates 2021, section 4.1): images
that the network was not trained on are binned by the confidence of a point, and the radius of a bin is the distance
that covers the wanted share of them, with the correction for their number. If new images are drawn as those were, each
radius holds the true point with at least that probability.

Shape letters: n images, k points.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rcn_search.errors import RcnSearchError

COVERAGE = 0.9
"""Probability with which a radius holds the true point."""
MIN_IMAGES = 9
"""With fewer, no radius covers 90 %: ceil((n + 1) 0.9) is over n."""
IMAGES_PER_BIN = 100
MAX_BINS = 10

Floats = NDArray[np.floating[Any]]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PointRadii(BaseModel):
    """Radii of one point by confidence; a confidence of exactly an edge belongs to the bin below it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    edges: tuple[Share, ...] = Field(max_length=MAX_BINS - 1)  # between the bins, ascending
    radii: tuple[Share, ...] = Field(min_length=1, max_length=MAX_BINS)  # shares of the side of the face box

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.radii) != len(self.edges) + 1:
            raise ValueError(f"{len(self.radii)} radii need {len(self.radii) - 1} edges, not {len(self.edges)}")
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError("the edges of confidence are not in ascending order")
        return self


class RadiusTable(BaseModel):
    """Radii of all points, for one way of predicting.

    Attributes:
        made_with: Decoder, test-time augmentation and denoiser of the predictions (`Predictor.record`).
        data_fingerprint: Data set of the images, and ``split`` the split.
        num_images: Number of images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    coverage: float = Field(COVERAGE, gt=0, lt=1)
    made_with: dict[str, str]
    data_fingerprint: str
    split: str
    num_images: int = Field(ge=1)
    points: tuple[PointRadii, ...] = Field(min_length=1)

    def look_up(self, confidence_nk: Floats) -> NDArray[np.float32]:
        """Find the radii (n, k) of points of that confidence, as shares of the side of the face box."""
        radius_nk = np.empty(confidence_nk.shape, np.float32)
        for k, point in enumerate(self.points):
            bin_n = np.searchsorted(np.asarray(point.edges), confidence_nk[:, k], side="left")
            radius_nk[:, k] = np.asarray(point.radii)[bin_n]
        return radius_nk


def fit_radii(distance_nk: Floats, confidence_nk: Floats, names: tuple[str, ...]) -> tuple[PointRadii, ...]:
    """Fit the radii of each point to the distances between predicted and true points.

    Args:
        distance_nk: Distances in shares of the side of the face box; NaN where a point is not labeled.
        confidence_nk: Confidence of the predicted points.
        names: Names of the points, for messages.

    Raises:
        RcnSearchError: A point is labeled in fewer than `MIN_IMAGES` images.
    """
    points = []
    for k, name in enumerate(names):
        labeled_n = np.isfinite(distance_nk[:, k])
        if (count := int(labeled_n.sum())) < MIN_IMAGES:
            raise RcnSearchError(
                f"the point {name!r} is labeled in {count} of the images: a radius of {COVERAGE:.0%} needs {MIN_IMAGES}"
            )
        distance_n = distance_nk[labeled_n, k].astype(np.float64)
        confidence_n = confidence_nk[labeled_n, k].astype(np.float64)
        edges = bin_edges(confidence_n)
        bin_n = np.searchsorted(edges, confidence_n, side="left")
        radii = [conformal_quantile(distance_n[bin_n == index]) for index in range(len(edges) + 1)]
        points.append(PointRadii(edges=tuple(edges), radii=tuple(radii)))
    return tuple(points)


def bin_edges(confidence_n: Floats) -> list[float]:
    """Choose edges between bins of at least about `IMAGES_PER_BIN` images; equal confidences stay together."""
    num_bins = min(len(confidence_n) // IMAGES_PER_BIN, MAX_BINS)
    edges: list[float] = []
    if num_bins < 2:
        return edges
    shares = np.arange(1, num_bins) / num_bins
    num_below = 0
    for edge in np.unique(np.quantile(confidence_n, shares, method="inverted_cdf")):
        upto = int((confidence_n <= edge).sum())
        if min(upto - num_below, len(confidence_n) - upto) >= IMAGES_PER_BIN // 2:
            edges.append(float(edge))
            num_below = upto
    return edges


def conformal_quantile(distance_n: Floats, coverage: float = COVERAGE) -> float:
    """Return the smallest distance that at least ``coverage`` of n + 1 distances do not exceed, whatever the last."""
    rank = math.ceil(round((len(distance_n) + 1) * coverage, 9))
    return float(np.partition(distance_n, rank - 1)[rank - 1])
