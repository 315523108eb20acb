"""Published rows: one CSV file per table; each row has its source, doubts, and its protocol if the source states it."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.protocol import EvaluationProtocol, FaceNormalizer, named_protocol
from rcn_search.leaderboard.records import Record

PUBLISHED = "published"
MAX_FILE_BYTES = 2**24
UnspecificNormalizer = Literal["face_box", "face_diagonal"]
"""Size or diagonal of a face box, if the source does not state which box or how its size is measured."""
_PLAIN = r"^[^\p{Cc}\p{Zl}\p{Zp}]*$"  # a line without control characters
Text = Annotated[str, Field(min_length=1, pattern=_PLAIN)]
Percent = Annotated[float, Field(ge=0, le=100)]
_Empty = BeforeValidator(lambda value: None if value == "" else value)


class _Published(Record):
    """One line of a CSV file; what is unknown is None.

    Attributes:
        keypoints: Keypoint schema, or ``ibug49`` for 49 of the 68 points.
        protocol: ``rcn2016``, ``rcn2016-49``, ``subpixel`` or ``subpixel-<normalizer>``; None if the source does
            not state enough to compare.
        normalizer: As stated or as in the source's code.
        grid: Side of the grid of whole pixels, ``none`` for distances at full resolution.
        box_source: Where the face box comes from; None if as in the protocol of that name.
        auc_pct: Printed area under the CED up to ``threshold_pct``, in percent of that area.
        fr_pct: Printed share of images whose error is above ``threshold_pct``.
        origin: ``reported`` by the authors, or by a table that copies them; ``reproduced`` by others.
        source: Paper and table, or repository and file.
    """

    method: Text
    year: Annotated[int | None, Field(ge=1990, le=2100), _Empty]
    dataset: Text
    subset: Text
    keypoints: Text
    protocol: Annotated[str | None, _Empty]
    normalizer: Annotated[FaceNormalizer | UnspecificNormalizer | None, _Empty]
    grid: Annotated[int | Literal["none"] | None, _Empty] = None
    box_source: Annotated[Literal["truth", "detector", "unstated"] | None, _Empty] = None
    auc_pct: Annotated[Percent | None, _Empty] = None
    fr_pct: Annotated[Percent | None, _Empty] = None
    threshold_pct: Annotated[float | None, Field(gt=0), _Empty] = None
    origin: Literal["reported", "reproduced"] = "reported"
    source: Text
    link: Annotated[str | None, Field(pattern=r"^https://\S+$"), _Empty] = None
    note: Annotated[str, Field(pattern=_PLAIN)]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        """Require a threshold with AUC and FR, and a protocol unless something that it needs is unknown."""
        if (self.threshold_pct is None) != (self.auc_pct is None and self.fr_pct is None):
            raise RcnSearchError("AUC or failure rate need their threshold, and a threshold needs one of them")
        if self.protocol is None and not self._unknown:
            raise RcnSearchError("the source states everything, so name the protocol")
        return self

    @property
    def _unknown(self) -> list[str]:
        """What a protocol needs and the source does not state."""
        normalizer_known = self.normalizer in get_args(FaceNormalizer)
        unknown = [] if normalizer_known else ["normalizer" if self.normalizer is None else "size of the face box"]
        return unknown if self.grid else [*unknown, "grid"]

    @property
    def no_rank_reason(self) -> str:
        """What a row without a protocol does not state; empty if it has one."""
        return "" if self.protocol else f"no rank: {' and '.join(self._unknown)} not stated"

    def full_protocol(self) -> EvaluationProtocol | None:
        """Build the protocol from its name; with an unstated face box it differs from that of every measured row.

        It has the usual threshold, not that of the row's AUC, because the error does not depend on it.
        `RcnSearchError` if there is no protocol of that name, or another column contradicts it.
        """
        if self.protocol is None:
            return None
        protocol = named_protocol(self.protocol, self.dataset, self.subset, self.keypoints)
        if protocol.normalizer != self.normalizer:
            raise RcnSearchError(
                f"normalizer {self.normalizer!r} is not that of {self.protocol}, {protocol.normalizer!r}"
            )
        if self.grid not in (None, protocol.grid_px or "none"):
            raise RcnSearchError(f"grid {self.grid} is not that of {self.protocol}, {protocol.grid_px or 'none'}")
        return protocol.model_copy(update={"box_source": self.box_source or protocol.box_source})


class PublishedRow(_Published):
    """An error as its source prints it, with the AUC and the failure rate printed beside it."""

    error_pct: float = Field(ge=0)


class PublishedCurve(_Published):
    """AUC or failure rate without an error: it is not shown in a table of errors."""

    error_pct: Annotated[None, _Empty] = None
    threshold_pct: float = Field(gt=0)


def load_published(leaderboard: str) -> tuple[list[PublishedRow], list[str]]:
    """Load all errors of ``<leaderboard>/published/*.csv``, and a line for every row or file that cannot be read."""
    results, problems = load_published_results(leaderboard)
    return [row for row in results if isinstance(row, PublishedRow)], problems


def load_published_results(leaderboard: str) -> tuple[list[PublishedRow | PublishedCurve], list[str]]:
    """Load what `load_published` loads, and rows that have only an AUC or a failure rate."""
    rows: list[PublishedRow | PublishedCurve] = []
    problems: list[str] = []
    for name in storage.list_names(storage.join(leaderboard, PUBLISHED)):
        uri = storage.join(leaderboard, PUBLISHED, name)
        if not name.endswith(".csv"):
            continue
        try:
            content = storage.read_bytes(uri, max_bytes=MAX_FILE_BYTES)
            reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig")), strict=True)
            for fields in reader:
                kind = PublishedRow if fields.get("error_pct") else PublishedCurve
                try:
                    row = kind.model_validate(fields)
                    row.full_protocol()
                    rows.append(row)
                except ValidationError as error:
                    problem = error.errors()[0]
                    where = f"{problem['loc'][0]}: " if problem["loc"] else ""
                    problems.append(f"{uri}, line {reader.line_num} is left out: {where}{problem['msg']}")
                except ValueError as error:
                    problems.append(f"{uri}, line {reader.line_num} is left out: {error}")
        except csv.Error as error:
            problems.append(f"{uri}, line {reader.line_num + 1} and all after it are left out: {error}")
        except (OSError, ValueError) as error:
            problems.append(f"{uri} is left out: {str(error).removeprefix(f'{uri} ')}")
    return rows, problems
