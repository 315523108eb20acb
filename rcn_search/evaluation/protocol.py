"""Evaluation protocols: on which images and points, in which coordinates, and by which length errors are computed.

The normalizer alone makes 2.99 % or 4.23 % on 300-W of the same predictions, so an error is stored, shown and ranked
only together with its `EvaluationProtocol`. Two protocols are the same exactly when they are equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from rcn_search.errors import RcnSearchError
from rcn_search.keypoint_schemas.document import NORMALIZER_NAME

FaceNormalizer = Literal["eye_centers", "outer_eye_corners", "pupils", "box", "diagonal"]
"""Normalizers of the built-in keypoint schemas, which published rows use."""
Normalizer = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
"""Name of a normalizer of a keypoint schema, built-in or not."""

# Usual thresholds in the literature: AUC8 on 300-W, AUC10 with eyes or pupils, AUC7 with the box. Entries that were
# written before protocols had a threshold are read with these, so they must never change.
THRESHOLDS_PCT: dict[str, float] = {
    "eye_centers": 10.0,
    "outer_eye_corners": 8.0,
    "pupils": 10.0,
    "box": 7.0,
    "diagonal": 7.0,
}

Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,100}$")]  # no control characters, because it is printed
RCN2016_GRID_PX = 80


def parse_normalizer(name: str, others: Iterable[str] = ()) -> Normalizer:
    """Find the normalizer of a name that may be abbreviated or written with hyphens.

    ``others`` are those of a user's keypoint schema, which exist besides the built-in ones.

    Raises:
        RcnSearchError: No normalizer, or more than one, begins with the name.

    >>> parse_normalizer("outer-eye")
    'outer_eye_corners'
    """
    prefix, known = name.replace("-", "_"), dict.fromkeys((*get_args(FaceNormalizer), *others))
    matches: list[str] = [each for each in known if prefix and each.startswith(prefix)]
    if prefix in known or len(matches) == 1:
        return prefix if prefix in known else matches[0]
    names = ", ".join(normalizer.replace("_", "-") for normalizer in known)
    raise RcnSearchError(f"no normalizer is called {name!r}; known are {names}")


def _default_threshold_pct(fields: dict[str, Any]) -> float:
    return THRESHOLDS_PCT.get(fields.get("normalizer", "eye_centers"), 10.0)


class EvaluationProtocol(BaseModel):
    """How an error in percent is computed.

    Attributes:
        name: Name in tables: the rule, followed by the normalizer if it is not the usual one.
        dataset: Data set of the images, as in ``aflw`` or ``300w``.
        subset: Subset of the data set, as in ``test`` or ``challenging``.
        keypoints: Keypoint schema of the points that count.
        normalizer: Length that distances are divided by: the distance of that name in the schema, or sqrt(w h)
            (``box``) or the diagonal (``diagonal``) of the tightest upright box around the true points.
        grid_px: Side of the grid within the face box to whose cells true and predicted points are rounded; None:
            distances at full resolution in the original image.
        box_source: Where the face box comes from: the true points, a detector, or a publication that does not say.
        threshold_pct: End of the area under the cumulative error curve, and the error above which an image is a
            failure; by default the usual one of the normalizer.

    >>> EvaluationProtocol(name="subpixel", dataset="aflw", subset="test", keypoints="five",
    ...                    normalizer="eye_centers", grid_px=None).threshold_pct
    10.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    dataset: Name
    subset: Name
    keypoints: Name
    normalizer: Normalizer
    grid_px: int | None = Field(ge=1)
    box_source: Literal["truth", "detector", "unstated"] = "truth"
    units: Literal["percent"] = "percent"
    threshold_pct: float = Field(default_factory=_default_threshold_pct, gt=0, allow_inf_nan=False)

    def __str__(self) -> str:
        """Format everything in one line, for titles."""
        grid = "sub-pixel" if self.grid_px is None else f"{self.grid_px}×{self.grid_px} whole pixels"
        box = "face box not stated" if self.box_source == "unstated" else f"box from {self.box_source}"
        return (
            f"{self.name}: {self.keypoints} points, {grid}, by {self.normalizer.replace('_', ' ')}, {box}, {self.units}"
        )

    def differences(self, other: EvaluationProtocol) -> list[str]:
        """List the fields in which two protocols differ, each as ``field: this or that``."""
        these, those = self.model_dump(), other.model_dump()
        return [
            f"{field.removesuffix('_px').removesuffix('_pct').replace('_', ' ')}: "
            f"{_format_field(field, these[field])} or {_format_field(field, those[field])}"
            for field in these
            if these[field] != those[field] and field != "name"
        ]


def _format_field(field: str, value: Any) -> str:
    if field == "grid_px":
        return "sub-pixel" if value is None else f"{value}×{value}"
    return str(value).replace("_", " ") if field == "normalizer" else str(value)


def rcn2016(dataset: str, subset: str, keypoints: str) -> EvaluationProtocol:
    """Make the protocol of the paper: whole pixels of the 80×80 input, eye centers (Honari et al. 2016, eq. 4)."""
    return EvaluationProtocol(
        name="rcn2016",
        dataset=dataset,
        subset=subset,
        keypoints=keypoints,
        normalizer="eye_centers",
        grid_px=RCN2016_GRID_PX,
    )


def subpixel(dataset: str, subset: str, keypoints: str, normalizer: Normalizer = "eye_centers") -> EvaluationProtocol:
    """Make the protocol without rounding: distances in pixels of the original image, visible points only."""
    name = "subpixel" if normalizer == "eye_centers" else f"subpixel-{normalizer}"
    return EvaluationProtocol(
        name=name, dataset=dataset, subset=subset, keypoints=keypoints, normalizer=normalizer, grid_px=None
    )


def named_protocol(name: str, dataset: str, subset: str, keypoints: str) -> EvaluationProtocol:
    """Make the protocol of a name: ``rcn2016``, ``subpixel``, ``subpixel-NORMALIZER``, or ``rcn2016-49``.

    ``rcn2016-49`` is ``rcn2016`` over 49 of the 68 points of 300-W.

    Raises:
        RcnSearchError: No protocol has that name.
    """
    if name in ("rcn2016", "rcn2016-49"):
        return rcn2016(dataset, subset, keypoints).model_copy(update={"name": name})
    rule, _, normalizer = name.partition("-")
    if rule == "subpixel" and (not normalizer or NORMALIZER_NAME.fullmatch(normalizer)):
        return subpixel(dataset, subset, keypoints, normalizer or "eye_centers")
    raise RcnSearchError(
        f"unknown protocol {name!r}; known are rcn2016, rcn2016-49, subpixel, subpixel-NORMALIZER with one of "
        f"{', '.join(get_args(FaceNormalizer))}, or one of the data set's keypoint schema"
    )
