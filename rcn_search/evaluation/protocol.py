"""The type of a number: what was measured, on what, in which frame, divided by what.

The same predictions score 2.99 % or 4.23 % on 300-W by the normalizer alone, so an error is kept, shown and ranked only
together with its `Protocol`. Two protocols are the same exactly when they are equal.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field

from rcn_search.errors import RcnSearchError

Normalizer = Literal["eye_centers", "outer_eye_corners", "pupils", "box", "diagonal"]

# What the field reports with each normalizer: AUC8 on 300-W, AUC10 where eyes or pupils normalize, AUC7 by the box.
# Entries from before protocols had a threshold have these, so none of them may ever change.
THRESHOLDS_PCT: dict[Normalizer, float] = {
    "eye_centers": 10.0,
    "outer_eye_corners": 8.0,
    "pupils": 10.0,
    "box": 7.0,
    "diagonal": 7.0,
}

Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,100}$")]  # no control characters: it is printed
RCN2016_GRID_PX = 80


def parse_normalizer(name: str) -> Normalizer:
    """The one that a person means: ``outer-eye`` and ``outer_eye_corners`` are the same; so for all.

    Raises:
        RcnSearchError: None is called so.
    """
    asked = name.replace("-", "_")
    fits: list[Normalizer] = [each for each in get_args(Normalizer) if asked and each.startswith(asked)]
    if len(fits) != 1:
        known = ", ".join(each.replace("_", "-") for each in get_args(Normalizer))
        raise RcnSearchError(f"no normalizer is called {name!r}; known: {known}")
    return fits[0]


def _usual_threshold(fields: dict[str, Any]) -> float:
    return THRESHOLDS_PCT.get(fields.get("normalizer", "eye_centers"), 10.0)


class EvaluationProtocol(BaseModel):
    """How an error in percent came about.

    Attributes:
        name: What tables call it: the rule, and the normalizer where it is not the rule's own.
        dataset: Data set of the images, as in ``aflw`` or ``300w``.
        subset: Which of its images, as in ``test`` or ``challenging``.
        keypoints: Keypoint schema of the points that count.
        normalizer: Length that a distance is divided by: between the points of that name in the schema, or sqrt(w h)
            (``box``) or the diagonal (``diagonal``) of the tightest upright box around the true points.
        grid_px: Side of the grid of whole pixels to which truth and prediction are both rounded, within the face box;
            none for distances at full resolution in the original image.
        box_source: Where the face box comes from: the true points, a detector, or a publication that does not say.
        units: Of the error.
        threshold_pct: End of the area under the cumulative error curve, and the error above which an image is a
            failure; by default what the field uses with the normalizer.
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
    threshold_pct: float = Field(default_factory=_usual_threshold, gt=0, allow_inf_nan=False)

    def __str__(self) -> str:
        """All of it in one line, for titles."""
        grid = "sub-pixel" if self.grid_px is None else f"{self.grid_px}×{self.grid_px} whole pixels"
        box = "face box not stated" if self.box_source == "unstated" else f"box from {self.box_source}"
        return (
            f"{self.name}: {self.keypoints} points, {grid}, by {self.normalizer.replace('_', ' ')}, {box}, {self.units}"
        )

    def differences(self, other: EvaluationProtocol) -> list[str]:
        """In what two protocols differ, each as ``what: this or that``; nothing where they are the same."""
        ours, theirs = self.model_dump(), other.model_dump()
        return [
            f"{field.removesuffix('_px').removesuffix('_pct').replace('_', ' ')}: "
            f"{_spoken(field, ours[field])} or {_spoken(field, theirs[field])}"
            for field in ours
            if ours[field] != theirs[field] and field != "name"
        ]


def _spoken(field: str, value: Any) -> str:
    if field == "grid_px":
        return "sub-pixel" if value is None else f"{value}×{value}"
    return str(value).replace("_", " ") if field == "normalizer" else str(value)


def rcn2016(dataset: str, subset: str, keypoints: str) -> EvaluationProtocol:
    """The paper's: whole pixels of the 80×80 input, eye centers (rcn.md 8; Honari et al., CVPR 2016, eq. 4)."""
    return EvaluationProtocol(
        name="rcn2016",
        dataset=dataset,
        subset=subset,
        keypoints=keypoints,
        normalizer="eye_centers",
        grid_px=RCN2016_GRID_PX,
    )


def subpixel(dataset: str, subset: str, keypoints: str, normalizer: Normalizer = "eye_centers") -> EvaluationProtocol:
    """Distances at full resolution in the original image, visible points only: nothing is hidden by rounding."""
    name = "subpixel" if normalizer == "eye_centers" else f"subpixel-{normalizer}"
    return EvaluationProtocol(
        name=name, dataset=dataset, subset=subset, keypoints=keypoints, normalizer=normalizer, grid_px=None
    )


def named_protocol(name: str, dataset: str, subset: str, keypoints: str) -> EvaluationProtocol:
    """The protocol that tables call ``name``.

    Args:
        name: ``rcn2016``, ``subpixel``, ``subpixel-NORMALIZER``, or ``rcn2016-49``, which is ``rcn2016`` over 49 of the
            68 points of 300-W.
        dataset: Data set.
        subset: Subset of it.
        keypoints: Keypoint schema.

    Raises:
        RcnSearchError: There is none of that name.
    """
    if name == "rcn2016":
        return rcn2016(dataset, subset, keypoints)
    if name == "rcn2016-49":
        return rcn2016(dataset, subset, keypoints).model_copy(update={"name": name})
    rule, _, normalizer = name.partition("-")
    if rule == "subpixel" and (not normalizer or normalizer in get_args(Normalizer)):
        return subpixel(dataset, subset, keypoints, cast(Normalizer, normalizer or "eye_centers"))
    raise RcnSearchError(
        f"unknown protocol {name!r}; known: rcn2016, rcn2016-49, subpixel, subpixel-NORMALIZER with one of "
        f"{', '.join(get_args(Normalizer))}"
    )
