"""What the paper says of each of its tables: the published rows, how they are ordered, and what they were run on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from rcn_search.leaderboard.location import PROJECT_LEADERBOARD
from rcn_search.leaderboard.published import PublishedRow, load_published
from rcn_search.resources import STUDIES, resource_path

TableName = Literal["table1", "table2", "table3", "table4", "convergence"]
SPACES = resource_path(STUDIES)

Place = tuple[str, str]
"""Data set and subset."""

PAPER_TEST_IMAGES: dict[Place, int] = {
    ("aflw", "test"): 2_995,
    ("afw", "test"): 377,
    ("300w", "common"): 554,
    ("300w", "challenging"): 135,
    ("300w", "full"): 689,
}
"""Faces of the paper's test sets (rcn.md 1)."""
PAPER_TRAINING_IMAGES = {"mtfl": 9_000, "300w": 2_834}
"""Faces the paper trains on, by name of the data set."""


class Claim(NamedTuple):
    """An ordering that the paper's figures have: all rows of ``lower`` have a lower error than all of ``higher``."""

    words: str
    lower: tuple[str, ...]
    higher: tuple[str, ...]
    worst_tenth: bool = False
    """Whether it is about the tenth of the images with the highest errors."""


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """One table of the paper.

    Attributes:
        title: As the published rows name it.
        claims: Its orderings.
        epochs: What the public commands train, by row, where they are known (rcn.md 5).
        compared_with: The published method of a row of another name.
    """

    title: str
    claims: tuple[Claim, ...] = ()
    epochs: dict[str, int] = field(default_factory=dict)
    compared_with: dict[str, str] = field(default_factory=dict)

    def published_name(self, row: str) -> str:
        """What the published rows call a row."""
        return self.compared_with.get(row, row)

    def published(self, rows: Iterable[str]) -> list[PublishedRow]:
        """The rows of this table, and those of other tables that are compared with ``rows``."""
        names = {self.published_name(row) for row in rows}
        all_rows, _ = load_published(str(PROJECT_LEADERBOARD))
        return [each for each in all_rows if each.source.endswith(f", {self.title}") or each.method in names]


def _masks() -> Iterable[Claim]:
    masks = ("1000", "0100", "1100", "0010", "0001", "0011", "0111", "1001", "1111")
    for model in ("SumNet", "RCN"):
        rows = {mask: f"{model} 4 branches, mask {mask}" for mask in masks}
        others = tuple(row for mask, row in rows.items() if mask != "1111")
        yield Claim(f"{model}: all four branches are the best", (rows["1111"],), others)
        others = tuple(row for mask, row in rows.items() if mask != "0001")
        yield Claim(f"{model}: the finest branch alone is the worst", others, (rows["0001"],))


def _sizes() -> Iterable[Claim]:
    for size in ("4 branches", "5 branches", "6 branches", "5 branches, occlusion", "6 branches, occlusion"):
        yield Claim(f"{size}: RCN is better than SumNet", (f"RCN {size}",), (f"SumNet {size}",))
    for row in ("RCN 5 branches", "RCN 6 branches", "RCN 7 branches", "SumNet 5 branches", "SumNet 6 branches"):
        yield Claim(f"{row}: occlusion helps", (f"{row}, occlusion",), (row,))
    for model in ("RCN", "SumNet"):
        yield Claim(f"{model}: 6 branches are no worse than 4", (f"{model} 6 branches",), (f"{model} 4 branches",))


_TCDCN = ("TCDCN, points alone", "TCDCN, with attributes")
TABLES: dict[TableName, PaperTable] = {
    "table1": PaperTable(title="Table 1", claims=tuple(_masks())),
    "table2": PaperTable(
        title="Table 2",
        claims=tuple(_sizes()),
        epochs={
            "SumNet 6 branches, occlusion": 4_000,
            "RCN 6 branches, occlusion": 4_000,
            "RCN 6 branches, occlusion, skip": 3_000,
        },
    ),
    "table3": PaperTable(
        title="Table 3",
        claims=(Claim("RCN is better than TCDCN", ("RCN 6 branches, occlusion",), _TCDCN),),
        epochs={"RCN 6 branches, occlusion": 4_000},
        compared_with=dict.fromkeys(_TCDCN, "TCDCN, re-implemented by the RCN authors"),
    ),
    "table4": PaperTable(
        title="Table 4",
        claims=(
            Claim("the denoiser helps", ("RCN + denoising",), ("RCN",)),
            Claim("the denoiser helps on the worst tenth of the images", ("RCN + denoising",), ("RCN",), True),
        ),
        epochs={"RCN": 3_000, "Denoiser": 100},
    ),
    "convergence": PaperTable(title="Convergence"),
}


class Reached(NamedTuple):
    """How soon the paper says a network had an error below `GOAL_PCT`, on a Tesla K20."""

    epochs: int
    minutes: int


GOAL_PCT = 7.0
PAPER_CONVERGENCE = {
    "RCN 6 branches, occlusion": Reached(15, 20),
    "SumNet 6 branches, occlusion": Reached(110, 120),
}
