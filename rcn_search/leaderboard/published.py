"""Published rows: one CSV per table; each row has its source, its doubts, and its protocol where that is stated."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from rcn_search import storage
from rcn_search.evaluation.protocol import Normalizer, Protocol, named_protocol

PUBLISHED = "published"

UnspecificNormalizer = Literal["face_box", "face_diagonal"]
"""Size or diagonal of a face box, where the source does not say which box, or which size of it."""

Text = Annotated[str, Field(min_length=1)]
Percent = Annotated[float, Field(ge=0, le=100)]


def _empty_is_none(value: Any) -> Any:
    return None if value == "" else value


_Empty = BeforeValidator(_empty_is_none)


class _Published(BaseModel):
    """What one line of a CSV says.

    Attributes:
        method: Name on the leaderboard.
        year: Of publication of the method; absent where our sources do not give it.
        dataset: Data set.
        subset: Subset of it.
        keypoints: Keypoint schema, or ``ibug49`` for 49 of the 68 points.
        protocol: ``rcn2016``, ``rcn2016-49``, ``subpixel`` or ``subpixel-<normalizer>``; absent where the source does
            not state enough to compare.
        normalizer: As stated or as the source's code has it; absent where unknown.
        grid: Side of the grid of whole pixels, ``none`` for distances at full resolution; absent where unknown.
        box_source: Where the face box comes from; absent: as the protocol of that name has it.
        auc_pct: The printed area under the CED up to ``threshold_pct``, in percent of that area.
        fr_pct: The printed share of images whose error is above ``threshold_pct``.
        threshold_pct: Of AUC and failure rate.
        origin: ``reported`` by the authors, or by a table that copies them; ``reproduced`` by others.
        source: Paper and table, or repository and file.
        link: To the source.
        note: Doubts, and what a reader should know.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Text
    year: Annotated[int | None, Field(ge=1990, le=2100), _Empty]
    dataset: Text
    subset: Text
    keypoints: Text
    protocol: Annotated[str | None, _Empty]
    normalizer: Annotated[Normalizer | UnspecificNormalizer | None, _Empty]
    grid: Annotated[int | Literal["none"] | None, _Empty] = None
    box_source: Annotated[Literal["truth", "detector", "unstated"] | None, _Empty] = None
    auc_pct: Annotated[Percent | None, _Empty] = None
    fr_pct: Annotated[Percent | None, _Empty] = None
    threshold_pct: Annotated[float | None, Field(gt=0), _Empty] = None
    origin: Literal["reported", "reproduced"] = "reported"
    source: Text
    link: Annotated[str | None, Field(pattern=r"^https://\S+$"), _Empty] = None
    note: str

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        """AUC and FR mean nothing without their threshold; a row has a protocol or lacks something that it needs.

        Raises:
            ValueError: It is not so.
        """
        if (self.threshold_pct is None) != (self.auc_pct is None and self.fr_pct is None):
            raise ValueError("AUC or failure rate, and their threshold, need each other")
        if self.protocol is None and not self._unknown:
            raise ValueError("all is stated, so name the protocol")
        return self

    @property
    def _unknown(self) -> list[str]:
        """What a protocol would need and the source does not state."""
        normalizer_known = self.normalizer in get_args(Normalizer)
        unknown = [] if normalizer_known else ["normalizer" if self.normalizer is None else "size of the face box"]
        return unknown if self.grid else [*unknown, "grid"]

    @property
    def no_rank_reason(self) -> str:
        """What a row without a protocol does not state; empty where it has one."""
        return "" if self.protocol else f"no rank: {' and '.join(self._unknown)} not stated"

    def full_protocol(self) -> Protocol | None:
        """The protocol by its name; one with the face box unstated equals that of no measured row.

        Its threshold is the usual one, that of the row's AUC is the row's own: its error depends on none.

        Raises:
            ValueError: There is none of that name, or the row says otherwise.
        """
        if self.protocol is None:
            return None
        protocol = named_protocol(self.protocol, self.dataset, self.subset, self.keypoints)
        if protocol.normalizer != self.normalizer:
            raise ValueError(f"normalizer {self.normalizer!r} is not that of {self.protocol}, {protocol.normalizer!r}")
        if self.grid not in (None, protocol.grid_px or "none"):
            raise ValueError(f"grid {self.grid} is not that of {self.protocol}, {protocol.grid_px or 'none'}")
        return protocol.model_copy(update={"box_source": self.box_source or protocol.box_source})


class PublishedRow(_Published):
    """An error as its source prints it, with the AUC and the failure rate printed beside it.

    Attributes:
        error_pct: The printed error.
    """

    error_pct: float = Field(ge=0)


class PublishedCurve(_Published):
    """AUC or failure rate without an error: it has no place in a table of errors.

    Attributes:
        error_pct: None.
    """

    error_pct: Annotated[None, _Empty] = None
    threshold_pct: float = Field(gt=0)


def load_published(leaderboard: str) -> tuple[list[PublishedRow], list[str]]:
    """All errors of ``<leaderboard>/published/*.csv``, and a line for every row or file that cannot be read."""
    figures, problems = load_published_results(leaderboard)
    return [row for row in figures if isinstance(row, PublishedRow)], problems


def load_published_results(leaderboard: str) -> tuple[list[PublishedRow | PublishedCurve], list[str]]:
    """As `load_published`, with the rows that have only an AUC or a failure rate."""
    rows: list[PublishedRow | PublishedCurve] = []
    problems: list[str] = []
    for name in storage.list_names(storage.join(leaderboard, PUBLISHED)):
        uri = storage.join(leaderboard, PUBLISHED, name)
        if not name.endswith(".csv"):
            continue
        try:
            reader = csv.DictReader(io.StringIO(storage.read_bytes(uri).decode()), strict=True)
            for fields in reader:
                kind = PublishedRow if fields.get("error_pct") else PublishedCurve
                try:
                    row = kind.model_validate(fields)
                    row.full_protocol()
                except ValidationError as error:
                    problem = error.errors()[0]
                    where = f"{problem['loc'][0]}: " if problem["loc"] else ""
                    problems.append(f"{uri}, line {reader.line_num} is left out: {where}{problem['msg']}")
                except ValueError as error:
                    problems.append(f"{uri}, line {reader.line_num} is left out: {error}")
                else:
                    rows.append(row)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            problems.append(f"{uri} is left out: {error}")
    return rows, problems
