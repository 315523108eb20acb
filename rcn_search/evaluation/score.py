"""Score predictions under a protocol: every figure of the leaderboard, with its 95 % interval. NumPy only.

Array names end in their axes: n images, k keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.bootstrap import NUM_RESAMPLES, Interval, bootstrap_intervals
from rcn_search.evaluation.coverage import radius_columns
from rcn_search.evaluation.metrics import Array, ImageErrors, auc_pct, failure_rate_pct, image_errors
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.protocol import RCN2016_GRID_PX, EvaluationProtocol, Normalizer, named_protocol, subpixel

PERCENTILES = (90.0, 95.0, 99.0)


class Estimate(NamedTuple):
    """A figure in percent and its 95 % interval, which is None with fewer than two groups."""

    pct: float
    low_pct: float | None = None
    high_pct: float | None = None


class Part(NamedTuple):
    """Number and mean error of the images of one class, as in ``pose 1``."""

    num_images: int
    error: Estimate


@dataclass(frozen=True, kw_only=True)
class Score:
    """Scores of predictions under a protocol.

    Attributes:
        auc: Area under the cumulative error curve up to the protocol's threshold, 100 for a perfect method.
        failure_rate: Share of images above the threshold; an error of exactly the threshold is not a failure.
        p90: Error that 90 % of the images do not exceed, interpolated as `numpy.percentile` does; ``p95`` and ``p99``
            likewise.
        coverage: Share of the true points that are within the radius around the predicted point; None without radii,
            and on the images that they were fitted on.
        radius: Mean radius, as a share of the normalizer.
        points: Mean error of each keypoint of the schema; None where it counts in no image.
        parts: Mean error by class of each attribute the data set has, as in ``pose 1``.
        num_images: Number of images that are included.
    """

    error: Estimate
    auc: Estimate
    failure_rate: Estimate
    p90: Estimate
    p95: Estimate
    p99: Estimate
    points: tuple[Estimate | None, ...]
    parts: dict[str, Part]
    num_images: int
    excluded: dict[str, int]
    coverage: Estimate | None = None
    radius: Estimate | None = None
    errors: ImageErrors = field(repr=False, compare=False)

    @property
    def error_pct(self) -> float:
        """Mean error over images, %."""
        return self.error.pct

    @property
    def ci_low_pct(self) -> float | None:
        """Lower end of the 95 % interval of the mean error, %."""
        return self.error.low_pct

    @property
    def ci_high_pct(self) -> float | None:
        """Upper end of the 95 % interval of the mean error, %."""
        return self.error.high_pct


def score(predictions: Predictions, protocol: EvaluationProtocol, *, num_resamples: int = NUM_RESAMPLES) -> Score:
    """Score predictions, with 95 % bootstrap intervals over groups of images.

    Raises:
        RcnSearchError: The predictions cannot be scored by ``protocol``, or no image is included.
    """
    errors = image_errors(predictions, protocol)
    included_n = errors.is_included_n
    if not included_n.any():
        raise RcnSearchError(
            f"no image to score under {protocol.name}: {errors.excluded or 'the prediction file is empty'}"
        )
    error_n, error_nk = errors.error_pct_n[included_n], errors.error_pct_nk[included_n]
    threshold = protocol.threshold_pct
    class_of_n = {name: classes[included_n] for name, classes in sorted(predictions.attributes.items())}
    members = {
        f"{name} {value}": classes == value for name, classes in class_of_n.items() for value in np.unique(classes)
    }
    margin_n = 100.0 * np.maximum(0.0, threshold - error_n) / threshold
    columns = [error_n, margin_n, 100.0 * (error_n > threshold)]
    columns += [np.where(member_n, error_n, np.nan) for member_n in members.values()]
    values_nc = np.concatenate([np.stack(columns, axis=1), error_nk], axis=1)
    means, percentiles = bootstrap_intervals(
        values_nc, predictions.group[included_n], percentiles=PERCENTILES, num_resamples=num_resamples
    )
    mean, auc, failures, *others = means
    coverage, radius = _score_radii(predictions, protocol, errors, num_resamples)
    p90, p95, p99 = map(_estimate, np.percentile(error_n, PERCENTILES).tolist(), percentiles)
    return Score(
        error=_estimate(float(error_n.mean()), mean),
        auc=_estimate(auc_pct(error_n, threshold), auc),
        failure_rate=_estimate(failure_rate_pct(error_n, threshold), failures),
        p90=p90,
        p95=p95,
        p99=p99,
        points=tuple(map(_mean_of_point, error_nk.T, others[len(members) :])),
        parts={
            name: Part(int(member_n.sum()), _estimate(float(error_n[member_n].mean()), interval))
            for (name, member_n), interval in zip(members.items(), others, strict=False)
        },
        num_images=int(included_n.sum()),
        excluded=errors.excluded,
        coverage=coverage,
        radius=radius,
        errors=errors,
    )


def _score_radii(
    predictions: Predictions, protocol: EvaluationProtocol, errors: ImageErrors, num_resamples: int
) -> tuple[Estimate | None, Estimate | None]:
    """Estimate the coverage and the mean length of the radii, if there are any."""
    columns = radius_columns(predictions, protocol, errors)
    if columns is None:
        return None, None
    values_nc = np.stack(columns, axis=1)[errors.is_included_n]
    intervals, _ = bootstrap_intervals(values_nc, predictions.group[errors.is_included_n], num_resamples=num_resamples)
    coverage, radius = map(_estimate, np.nanmean(values_nc, axis=0).tolist(), intervals)
    return coverage, radius


def protocols_for(predictions: Predictions, normalizers: Sequence[Normalizer] = ()) -> list[EvaluationProtocol]:
    """List the protocols by which predictions are scored: ``rcn2016`` if their grid is the paper's, then ``subpixel``.

    ``subpixel`` is by the schema's default normalizer, and then by each of ``normalizers``. ``rcn2016`` is by the eye
    centers, so schemas without them have none.
    """
    default = predictions.schema.default_normalizer
    dataset, subset, keypoints = (str(predictions.meta[key]) for key in ("dataset", "subset", "keypoints"))
    protocols = []
    if predictions.meta["grid_px"] == RCN2016_GRID_PX and default == "eye_centers":
        protocols.append(named_protocol("rcn2016", dataset, subset, keypoints))
        if keypoints == "ibug68":
            protocols.append(named_protocol("rcn2016-49", dataset, subset, "ibug49"))
    names = dict.fromkeys((default, *normalizers))
    return protocols + [subpixel(dataset, subset, keypoints, name) for name in names]


def _estimate(pct: float, interval: Interval | None) -> Estimate:
    return Estimate(pct, *interval) if interval else Estimate(pct)


def _mean_of_point(error_pct_n: Array, interval: Interval | None) -> Estimate | None:
    finite_n = error_pct_n[np.isfinite(error_pct_n)]
    return _estimate(float(finite_n.mean()), interval) if len(finite_n) else None
