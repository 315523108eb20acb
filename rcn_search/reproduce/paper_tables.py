"""The tables of the paper: published rows, claims about their order, and the images they were measured on.

Honari et al., "Recombinator Networks", CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from rcn_search.leaderboard.location import PROJECT_LEADERBOARD
from rcn_search.leaderboard.published import PublishedRow, load_published
from rcn_search.resources import STUDIES, resource_path

TableName = Literal["table1", "table2", "table3", "table4", "convergence", "ablations", "ablations-300w"]
STUDY_FILES = resource_path(STUDIES)
"""Folder of the tables' study files."""


class Subset(NamedTuple):
    """A subset of a data set, as in ``aflw/test``."""

    dataset: str
    name: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.name}"


PAPER_TEST_IMAGES: dict[Subset, int] = {
    Subset("aflw", "test"): 2_995,
    Subset("afw", "test"): 377,
    Subset("300w", "common"): 554,
    Subset("300w", "challenging"): 135,
    Subset("300w", "full"): 689,
}
"""Number of faces of the paper's test sets (docs/explanation/model-specification.md)."""
PAPER_TRAINING_IMAGES = {"mtfl": 9_000, "300w": 2_834}
"""Number of faces that the paper trains on, by name of the data set."""


class Claim(NamedTuple):
    """A claim that the paper's figures support: all rows of ``lower`` have lower errors than all of ``higher``.

    With ``worst_tenth`` it is about the tenth of the images with the highest errors.
    """

    words: str
    lower: tuple[str, ...]
    higher: tuple[str, ...]
    worst_tenth: bool = False


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """One table of the paper.

    Attributes:
        title: Title, as published rows name it.
        epochs: Epochs that the authors' public commands train, by row, where they are known.
        compared_with: Published method of a row, where it has another name.
    """

    title: str
    claims: tuple[Claim, ...] = ()
    epochs: dict[str, int] = field(default_factory=dict)
    compared_with: dict[str, str] = field(default_factory=dict)

    def published_name(self, row: str) -> str:
        """Return the published method that a row is compared with."""
        return self.compared_with.get(row, row)

    def published(self, rows: Iterable[str]) -> list[PublishedRow]:
        """Load the published rows of this table, and those of other tables that are compared with ``rows``."""
        names = {self.published_name(row) for row in rows}
        all_rows, _ = load_published(str(PROJECT_LEADERBOARD))
        return [row for row in all_rows if row.source.endswith(f", {self.title}") or row.method in names]


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


def _ablations() -> Iterable[Claim]:
    """What the paper states without a number (its notes 3, 4 and 8), and where its text and its code differ."""
    rcn, sumnet = "RCN 6 branches, occlusion", "SumNet 6 branches, occlusion"
    yield Claim("tiling is better than bilinear upsampling", (rcn,), (f"{rcn}, bilinear",))
    yield Claim("negative log-likelihood is better than squared distance", (rcn,), (f"{rcn}, squared distance",))
    yield Claim("gray is better than color", (rcn,), (f"{rcn}, color",))
    yield Claim("the threshold of an image is better than that of its batch", (rcn,), (f"{rcn}, threshold by batch",))
    yield Claim("weights by pixel are better than by map", (f"{sumnet}, weights by pixel",), (sumnet,))


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
    "ablations": PaperTable(title="Ablations", claims=tuple(_ablations())),
    "ablations-300w": PaperTable(
        title="Ablations on 300-W",
        claims=(Claim("5x5 and 1x1 kernels, as in the public code, are better than 3x3", ("RCN",), ("RCN, 3x3",)),),
    ),
}


class PaperConvergence(NamedTuple):
    """Epochs and minutes in which the paper's network fell below `TARGET_ERROR_PCT`, on a Tesla K20."""

    epochs: int
    minutes: int


TARGET_ERROR_PCT = 7.0
PAPER_CONVERGENCE = {"RCN 6 branches": PaperConvergence(15, 20), "SumNet 6 branches": PaperConvergence(110, 120)}
"""The paper's statement is about training without occluder."""
