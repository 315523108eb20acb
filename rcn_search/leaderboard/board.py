"""Our entries and published rows in one board: a table per data set, subset and protocol, ranked within it only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rcn_search import storage
from rcn_search.evaluation.metrics import NON_FINITE_PREDICTION
from rcn_search.evaluation.protocol import Protocol
from rcn_search.leaderboard.entry import Entry, load_entries
from rcn_search.leaderboard.published import PUBLISHED, PublishedRow, load_published

BOARD_VARIABLE = "RCN_SEARCH_BOARD"
REPOSITORY_BOARD = Path(__file__).parents[2] / "leaderboard"
UNSTATED = "not stated"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table.

    Attributes:
        method: Name.
        error_pct: As measured or as printed.
        origin: ``ours``, measured by this code; ``reported``, taken from a publication.
        rank: From 1, rows of the same printed error share it; absent where the row cannot be ranked.
        unranked: Why it cannot be ranked.
        note: Doubts about a published figure.
        entry_id: Of our entry.
        entry: Our entry.
        published: The published row.
    """

    method: str
    error_pct: float
    origin: Literal["ours", "reported"]
    rank: int | None = None
    unranked: str = ""
    note: str = ""
    entry_id: str | None = None
    entry: Entry | None = None
    published: PublishedRow | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows that may be compared; where ``protocol`` is absent, rows that may not.

    Attributes:
        dataset: Data set.
        subset: Subset of it.
        protocol: What all rows were measured by.
        rows: Best first.
    """

    dataset: str
    subset: str
    protocol: Protocol | None
    rows: tuple[Row, ...]

    @property
    def protocol_name(self) -> str:
        """What to call the protocol, also where there is none."""
        return self.protocol.name if self.protocol else UNSTATED


@dataclass(frozen=True, kw_only=True)
class Board:
    """All tables, and a line for everything in the board's folder that could not be shown."""

    tables: tuple[Table, ...]
    problems: tuple[str, ...] = ()

    def only(self, dataset: str, subset: str | None = None) -> Board:
        """The tables of one data set, or of one subset of it."""
        tables = (each for each in self.tables if each.dataset == dataset and subset in (None, each.subset))
        return replace(self, tables=tuple(tables))


def default_board() -> str:
    """Where the board is when nobody says: $RCN_SEARCH_BOARD, ./leaderboard, or that of the source tree we run from.

    Raises:
        ValueError: None of them is there.
    """
    if os.environ.get(BOARD_VARIABLE):
        return os.environ[BOARD_VARIABLE]
    for folder in (Path("leaderboard"), REPOSITORY_BOARD):
        if folder.is_dir():
            return str(folder)
    raise ValueError(f"no leaderboard: there is no folder ./leaderboard; name one with --board or ${BOARD_VARIABLE}")


def build_board(uri: str) -> Board:
    """The board at ``uri``. One without published rows of its own shows those of the source tree we run from."""
    entries, problems = load_entries(uri)
    has_published = storage.exists(storage.join(uri, PUBLISHED))
    published, published_problems = load_published(uri if has_published else str(REPOSITORY_BOARD))
    placed = [_place_entry(entry_id, entry) for entry_id, entry in entries.items()]
    placed += [_place_published(row) for row in published]
    return Board(tables=_tables(placed), problems=(*problems, *published_problems))


_Place = tuple[str, str, Protocol | None]


def _place_entry(entry_id: str, entry: Entry) -> tuple[_Place, Row]:
    unpredicted = entry.excluded.get(NON_FINITE_PREDICTION, 0)
    # A method that gave no answer for an image has not been measured on the whole subset.
    row = Row(
        method=entry.method,
        error_pct=entry.error_pct,
        origin="ours",
        unranked=f"no rank: {unpredicted} images without a finite prediction" if unpredicted else "",
        entry_id=entry_id,
        entry=entry,
    )
    return (entry.protocol.dataset, entry.protocol.subset, entry.protocol), row


def _place_published(published: PublishedRow) -> tuple[_Place, Row]:
    protocol = published.full_protocol()
    row = Row(
        method=published.method,
        error_pct=published.error_pct,
        origin="reported",
        unranked="" if protocol else "no rank: protocol not stated",
        note=published.note,
        published=published,
    )
    return (published.dataset, published.subset, protocol), row


def _tables(placed: Iterable[tuple[_Place, Row]]) -> tuple[Table, ...]:
    """By name; tables that hold rows of ours before those that do not."""
    rows_at: dict[_Place, list[Row]] = {}
    for place, row in placed:
        rows_at.setdefault(place, []).append(row)
    tables = [
        Table(dataset=dataset, subset=subset, protocol=protocol, rows=_ranked(rows))
        for (dataset, subset, protocol), rows in rows_at.items()
    ]
    tables.sort(key=lambda table: (table.dataset, table.subset, table.protocol is None, str(table.protocol)))
    return tuple(sorted(tables, key=lambda table: all(row.origin == "reported" for row in table.rows)))


def _ranked(rows: list[Row]) -> tuple[Row, ...]:
    """Best first. A row's rank is one more than the number of ranked rows with a smaller printed error."""
    ranked: list[Row] = []
    num_before, last_rank, last_error = 0, 0, ""
    for row in sorted(rows, key=lambda row: (row.error_pct, row.origin, row.method)):
        if not row.unranked:
            num_before += 1
            if printed_error(row.error_pct) != last_error:
                last_rank, last_error = num_before, printed_error(row.error_pct)
            row = replace(row, rank=last_rank)
        ranked.append(row)
    return tuple(ranked)


def printed_error(error_pct: float) -> str:
    """An error as all tables print it, and as ties are judged."""
    return f"{error_pct:.2f}"
