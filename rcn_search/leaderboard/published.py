"""Published rows: one CSV per table; each row has its source, its doubts, and its protocol where that is stated."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from rcn_search import storage
from rcn_search.evaluation.protocol import Normaliser, Protocol, named_protocol

PUBLISHED = "published"

Text = Annotated[str, Field(min_length=1)]


def _empty_is_none(value: Any) -> Any:
    return None if value == "" else value


class PublishedRow(BaseModel):
    """One number as its source prints it.

    Attributes:
        method: Name on the board.
        year: Of publication of the method.
        dataset: Data set.
        subset: Subset of it.
        keypoints: Keypoint schema, or ``ibug49`` for 49 of the 68 points.
        protocol: Name for `named_protocol`; absent where the source does not state enough to compare.
        normaliser: As stated or as the source's code has it; absent where unknown.
        error_pct: The printed error.
        source: Paper and table.
        note: Doubts, and what a reader should know.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Text
    year: int = Field(ge=1990, le=2100)
    dataset: Text
    subset: Text
    keypoints: Text
    protocol: Annotated[str | None, BeforeValidator(_empty_is_none)]
    normaliser: Annotated[Normaliser | None, BeforeValidator(_empty_is_none)]
    error_pct: float = Field(ge=0)
    source: Text
    note: str

    def full_protocol(self) -> Protocol | None:
        """The protocol by its name.

        Raises:
            ValueError: There is none of that name, or its normaliser is not the row's.
        """
        if self.protocol is None:
            return None
        protocol = named_protocol(self.protocol, self.dataset, self.subset, self.keypoints)
        if protocol.normaliser != self.normaliser:
            raise ValueError(f"normaliser {self.normaliser!r} is not that of {self.protocol}, {protocol.normaliser!r}")
        return protocol


def load_published(board: str) -> tuple[list[PublishedRow], list[str]]:
    """All rows of ``<board>/published/*.csv``, and a line for every row or file that cannot be read."""
    rows: list[PublishedRow] = []
    problems: list[str] = []
    for name in storage.list_names(storage.join(board, PUBLISHED)):
        uri = storage.join(board, PUBLISHED, name)
        if not name.endswith(".csv"):
            continue
        try:
            reader = csv.DictReader(io.StringIO(storage.read_bytes(uri).decode()), strict=True)
            for fields in reader:
                try:
                    row = PublishedRow.model_validate(fields)
                    row.full_protocol()
                except ValidationError as error:
                    problem = error.errors()[0]
                    problems.append(f"{uri}, line {reader.line_num} is left out: {problem['loc'][0]}: {problem['msg']}")
                except ValueError as error:
                    problems.append(f"{uri}, line {reader.line_num} is left out: {error}")
                else:
                    rows.append(row)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            problems.append(f"{uri} is left out: {error}")
    return rows, problems
