"""Our entries and published rows in one board: a table per data set, subset and protocol, ranked within it only.

Ranks are of measured rows, on the same images (`ranking`). Published rows stand among them by their printed error,
without a rank: nothing can be tested that has no errors of its own.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from rcn_search import storage
from rcn_search.config import canonical_hash
from rcn_search.evaluation.metrics import Array
from rcn_search.evaluation.protocol import Protocol
from rcn_search.leaderboard.entry import Entry
from rcn_search.leaderboard.index import Listed, list_entries
from rcn_search.leaderboard.per_image import read_errors, read_images
from rcn_search.leaderboard.published import PUBLISHED, PublishedRow, load_published
from rcn_search.leaderboard.ranking import RankRange, rank_ranges

BOARD_VARIABLE = "RCN_SEARCH_BOARD"
REPOSITORY_BOARD = Path(__file__).parents[2] / "leaderboard"
UNSTATED = "not stated"
MAX_RANKED = 100
"""Rows of a table that are tested against each other, the best ones; those after them have no rank."""
NO_ERRORS = "no rank: no errors of its images are kept (rcn-search leaderboard rescore adds them)"


class Seeds(NamedTuple):
    """The same method trained with several seeds, under one protocol: what one number cannot say.

    ``num`` entries of different seeds, the mean of their errors, and the standard deviation between them.
    """

    num: int
    mean_pct: float
    sd_pct: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table.

    Attributes:
        method: Name.
        error_pct: As measured or as printed.
        origin: ``ours``, a model of this code; ``reproduced``, measured by others than its authors, by this code where
            there is an entry; ``reported``, taken from a publication.
        rank: Range of ranks, from 1; absent where the row cannot be ranked.
        unranked: Why a measured row cannot be ranked, or what a published one does not state. Nothing for a published
            row that states all, and for a measured one that comes after the `MAX_RANKED` that are tested.
        note: Doubts about a published figure.
        entry_id: Of our entry.
        listed: What is known of our entry without reading it; see `entry`.
        published: The published row.
        seeds: Of the entry's method, if it was trained with several.
    """

    method: str
    error_pct: float
    origin: Literal["ours", "reproduced", "reported"]
    rank: RankRange | None = None
    unranked: str = ""
    note: str = ""
    entry_id: str | None = None
    listed: Listed | None = None
    published: PublishedRow | None = None
    seeds: Seeds | None = None

    @property
    def entry(self) -> Entry | None:
        """Our entry."""
        return self.listed.entry if self.listed else None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows that may be compared; where ``protocol`` is absent, rows that may not.

    Attributes:
        dataset: Data set.
        subset: Subset of it.
        protocol: What all rows were measured by.
        rows: Best first.
        images_sha256: The images on which the ranked rows were tested against each other; absent where none was.
    """

    dataset: str
    subset: str
    protocol: Protocol | None
    rows: tuple[Row, ...]
    images_sha256: str | None = None

    @property
    def protocol_name(self) -> str:
        """What to call the protocol, also where there is none."""
        return self.protocol.name if self.protocol else UNSTATED


@dataclass(frozen=True, kw_only=True)
class Board:
    """All tables, and a line for everything in the board's folder that could not be shown."""

    tables: tuple[Table, ...]
    problems: tuple[str, ...] = ()
    uri: str = ""

    def only(self, dataset: str, subset: str | None = None) -> Board:
        """The tables of one data set, or of one subset of it."""
        tables = (each for each in self.tables if each.dataset == dataset and subset in (None, each.subset))
        return replace(self, tables=tuple(tables))

    def measured(self) -> Board:
        """The tables that hold more than published rows."""
        return replace(self, tables=tuple(each for each in self.tables if any(row.listed for row in each.rows)))


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
    with without_collector():
        return _build(uri)


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Ten thousand entries are a million objects, all of them kept: looking for garbage among them takes a second."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _build(uri: str) -> Board:
    entries, problems = list_entries(uri)
    entries = without_replaced(entries)
    has_published = storage.exists(storage.join(uri, PUBLISHED))
    published, published_problems = load_published(uri if has_published else str(REPOSITORY_BOARD))
    placed = [_place_entry(entry_id, each) for entry_id, each in entries.items()]
    placed += [_place_published(row) for row in published]
    tables, table_problems = _tables(uri, placed)
    return Board(tables=tables, problems=(*problems, *published_problems, *table_problems), uri=uri)


def without_replaced(entries: Mapping[str, Listed]) -> dict[str, Listed]:
    """All entries but those in whose place a later one of the same predictions stands."""
    replaced = {
        each.replaces
        for each in entries.values()
        if each.replaces and each.replaces in entries and each.entry.says_more_than(entries[each.replaces].entry)
    }
    return {entry_id: each for entry_id, each in entries.items() if entry_id not in replaced}


def errors_of(board: str, entry: Entry) -> Array:
    """The errors of an entry's images, (n,) in percent; NaN for images that do not count.

    Raises:
        ValueError: The entry has none, they are missing or damaged, or they are not those its error is the mean of.
    """
    if entry.errors_sha256 is None or entry.images_sha256 is None:
        raise ValueError(f"{entry.method} has no errors by image on the board")
    try:
        error_pct_n = read_errors(board, entry.errors_sha256)
        num_images = len(read_images(board, entry.images_sha256).image_id_n)
    except FileNotFoundError as error:
        raise ValueError(f"the errors of {entry.method} are missing: {error}") from error
    kept_n = np.isfinite(error_pct_n)
    fits = len(error_pct_n) == num_images and int(kept_n.sum()) == entry.num_images
    if not fits or not np.isclose(error_pct_n[kept_n].mean(), entry.error_pct, rtol=1e-9, atol=1e-12):
        raise ValueError(f"the errors kept for {entry.method} are not those of its entry")
    return error_pct_n


_Place = tuple[str, str, Protocol | None]


def _place_entry(entry_id: str, listed: Listed) -> tuple[_Place, Row]:
    unpredicted = listed.num_unpredicted
    # A method that gave no answer for an image has not been measured on the whole subset.
    unranked = f"no rank: {unpredicted} images without a finite prediction" if unpredicted else ""
    row = Row(
        method=listed.method,
        error_pct=listed.error_pct,
        origin=listed.origin,
        unranked=unranked or ("" if listed.errors_sha256 else NO_ERRORS),
        entry_id=entry_id,
        listed=listed,
    )
    return (listed.protocol.dataset, listed.protocol.subset, listed.protocol), row


def _place_published(published: PublishedRow) -> tuple[_Place, Row]:
    protocol = published.full_protocol()
    row = Row(
        method=published.method,
        error_pct=published.error_pct,
        origin=published.origin,
        unranked=published.no_rank,
        note=published.note,
        published=published,
    )
    return (published.dataset, published.subset, protocol), row


def _tables(uri: str, placed: Iterable[tuple[_Place, Row]]) -> tuple[tuple[Table, ...], list[str]]:
    """By name; tables that hold rows of ours before those that do not."""
    rows_at: dict[_Place, list[Row]] = defaultdict(list)
    for place, row in placed:
        rows_at[place].append(row)
    problems: list[str] = []
    tables = []
    for (dataset, subset, protocol), rows in rows_at.items():
        rows.sort(key=lambda row: (row.error_pct, row.origin, row.method))
        images_sha256, rows = _ranked(uri, _with_seeds(rows), problems)
        tables.append(
            Table(dataset=dataset, subset=subset, protocol=protocol, rows=tuple(rows), images_sha256=images_sha256)
        )
    tables.sort(key=lambda table: (table.dataset, table.subset, table.protocol is None, str(table.protocol)))
    return tuple(sorted(tables, key=lambda table: all(row.listed is None for row in table.rows))), problems


def _ranked(uri: str, rows: list[Row], problems: list[str]) -> tuple[str | None, list[Row]]:
    """The same rows with ranks, and the images that these were found on: those that most measured rows are of."""
    measured = [(place, row.listed) for place, row in enumerate(rows) if row.listed and not row.unranked]
    if not measured:
        return None, rows
    ((chosen, _),) = Counter(listed.images_sha256 for _, listed in measured).most_common(1)
    assert chosen is not None  # an entry without images has no errors either
    reasons: dict[int, str] = {}
    tested: dict[int, Array] = {}
    for place, listed in measured:
        if listed.images_sha256 != chosen:
            reasons[place] = f"no rank: its {listed.num_images:,} images are not those of the rows with ranks"
        elif len(tested) < MAX_RANKED:
            try:
                tested[place] = errors_of(uri, listed.entry)
            except (ValueError, OSError) as error:
                reasons[place] = "no rank: its errors by image cannot be read"
                problems.append(f"{uri}: entry {rows[place].entry_id} has no rank: {error}")
    ranks: dict[int, RankRange] = {}
    if tested:
        error_pct_rn = np.stack(list(tested.values()))
        # Only what is wrong with the truth excludes an image here, and that is the same for all rows.
        kept_n = np.isfinite(error_pct_rn).all(axis=0)
        found = rank_ranges(error_pct_rn[:, kept_n], read_images(uri, chosen).group_n[kept_n])
        ranks = dict(zip(tested, found, strict=True))
    rows = list(rows)
    for place in (*ranks, *reasons):
        row = rows[place]
        rows[place] = replace(row, rank=ranks.get(place), unranked=reasons.get(place, row.unranked))
    return (chosen if tested else None), rows


def family(entry: Entry) -> str:
    """What entries have in common that differ in the seed only."""
    config = {key: value for key, value in entry.config.items() if key != "seed"}
    return canonical_hash([without_seed(entry.method), config, entry.fingerprint, entry.origin])


def without_seed(method: str) -> str:
    """The name of a method, where it is that of one of its seeds, as in ``RCN, seed 2``."""
    return re.sub(r", seed \d+$", "", method)


def _with_seeds(rows: list[Row]) -> list[Row]:
    namesakes: dict[str, list[Listed]] = defaultdict(list)
    for row in rows:
        if row.listed and row.listed.seed is not None:
            namesakes[without_seed(row.method)].append(row.listed)
    found: dict[str, Seeds] = {}
    several = {name for name, each in namesakes.items() if len({listed.seed for listed in each}) > 1}
    for name in several:
        families: dict[str, dict[int | None, float]] = defaultdict(dict)
        for listed in namesakes[name]:
            # Of several entries of one seed, which are the same weights looked at again, the first counts.
            families[family(listed.entry)].setdefault(listed.seed, listed.error_pct)
        for same, errors in families.items():
            if len(errors) > 1:
                values = list(errors.values())
                found[same] = Seeds(len(values), statistics.mean(values), statistics.stdev(values))
    return [
        replace(row, seeds=found.get(family(row.listed.entry)))
        if row.listed and without_seed(row.method) in several
        else row
        for row in rows
    ]


def printed_error(error_pct: float) -> str:
    """An error as all tables print it."""
    return f"{error_pct:.2f}"
