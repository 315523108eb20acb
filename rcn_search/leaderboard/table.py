"""Our entries and published rows in one leaderboard: a table per data set, subset and protocol, ranked within it only.

Ranks are of measured rows, on the same images (`ranking`). Published rows stand among them by their printed error,
without a rank: nothing can be tested that has no errors of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rcn_search import storage
from rcn_search.evaluation.metrics import Array
from rcn_search.evaluation.protocol import Protocol
from rcn_search.leaderboard.entry_cache import EntrySummary, list_summaries
from rcn_search.leaderboard.location import REPOSITORY_LEADERBOARD
from rcn_search.leaderboard.per_image import read_errors, read_image_set
from rcn_search.leaderboard.published import PUBLISHED, PublishedRow, load_published
from rcn_search.leaderboard.ranking.cache import RankCache
from rcn_search.leaderboard.ranking.seeds import SeedStatistics, seed_statistics
from rcn_search.leaderboard.ranking.statistics import RankRange, rank_ranges
from rcn_search.leaderboard.records import Entry
from rcn_search.storage.gc_pause import without_collector

UNSTATED = "not stated"
MAX_RANKED = 100
"""Rows of a table that are tested against each other, the best ones; those after them have no rank."""
NO_ERRORS_STORED = "no rank: no errors of its images are kept (rcn-search leaderboard rescore adds them)"


@dataclass(frozen=True, kw_only=True)
class LeaderboardRow:
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
    no_rank_reason: str = ""
    note: str = ""
    entry_id: str | None = None
    summary: EntrySummary | None = None
    published: PublishedRow | None = None
    seeds: SeedStatistics | None = None

    @property
    def entry(self) -> Entry | None:
        """Our entry."""
        return self.summary.entry if self.summary else None


@dataclass(frozen=True, kw_only=True)
class LeaderboardTable:
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
    rows: tuple[LeaderboardRow, ...]
    images_sha256: str | None = None

    @property
    def protocol_name(self) -> str:
        """What to call the protocol, also where there is none."""
        return self.protocol.name if self.protocol else UNSTATED


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """All tables, and a line for everything in the leaderboard's folder that could not be shown."""

    tables: tuple[LeaderboardTable, ...]
    problems: tuple[str, ...] = ()
    uri: str = ""

    def select(self, dataset: str, subset: str | None = None) -> Leaderboard:
        """The tables of one data set, or of one subset of it."""
        tables = (each for each in self.tables if each.dataset == dataset and subset in (None, each.subset))
        return replace(self, tables=tuple(tables))

    def only_measured(self) -> Leaderboard:
        """The tables that hold more than published rows."""
        return replace(self, tables=tuple(each for each in self.tables if any(row.summary for row in each.rows)))


def build_leaderboard(uri: str) -> Leaderboard:
    """The leaderboard at ``uri``. One without published rows of its own shows those of the source tree we run from."""
    with without_collector():
        return _build(uri)


def _build(uri: str) -> Leaderboard:
    entries, problems = list_summaries(uri)
    entries = drop_superseded(entries)
    has_published = storage.exists(storage.join(uri, PUBLISHED))
    published, published_problems = load_published(uri if has_published else str(REPOSITORY_LEADERBOARD))
    placed = [_place_entry(entry_id, each) for entry_id, each in entries.items()]
    placed += [_place_published(row) for row in published]
    tables, table_problems = _tables(uri, placed)
    missing = [] if storage.exists(uri) else [f"there is no leaderboard at {uri}: these are published rows only"]
    return Leaderboard(tables=tables, problems=(*missing, *problems, *published_problems, *table_problems), uri=uri)


def drop_superseded(entries: Mapping[str, EntrySummary]) -> dict[str, EntrySummary]:
    """All entries but those in whose place a later one of the same predictions stands."""
    replaced = {
        each.replaces
        for each in entries.values()
        if each.replaces and each.replaces in entries and each.entry.supersedes(entries[each.replaces].entry)
    }
    return {entry_id: each for entry_id, each in entries.items() if entry_id not in replaced}


def load_errors(leaderboard: str, entry: Entry) -> Array:
    """The errors of an entry's images, (n,) in percent; NaN for images that do not count.

    Raises:
        ValueError: The entry has none, they are missing or damaged, or they are not those its error is the mean of.
    """
    if entry.errors_sha256 is None or entry.images_sha256 is None:
        raise ValueError(f"{entry.method} has no errors by image on the leaderboard")
    try:
        error_pct_n = read_errors(leaderboard, entry.errors_sha256)
        num_images = len(read_image_set(leaderboard, entry.images_sha256).image_id_n)
    except FileNotFoundError as error:
        raise ValueError(f"the errors of {entry.method} are missing: {error}") from error
    kept_n = np.isfinite(error_pct_n)
    fits = len(error_pct_n) == num_images and int(kept_n.sum()) == entry.num_images
    if not fits or not np.isclose(error_pct_n[kept_n].mean(), entry.error_pct, rtol=1e-9, atol=1e-12):
        raise ValueError(f"the errors kept for {entry.method} are not those of its entry")
    return error_pct_n


_Place = tuple[str, str, Protocol | None]


def _place_entry(entry_id: str, listed: EntrySummary) -> tuple[_Place, LeaderboardRow]:
    unpredicted = listed.num_unpredicted
    # A method that gave no answer for an image has not been measured on the whole subset.
    unranked = f"no rank: {unpredicted} images without a finite prediction" if unpredicted else ""
    row = LeaderboardRow(
        method=listed.method,
        error_pct=listed.error_pct,
        origin=listed.origin,
        no_rank_reason=unranked or ("" if listed.errors_sha256 else NO_ERRORS_STORED),
        entry_id=entry_id,
        summary=listed,
    )
    return (listed.protocol.dataset, listed.protocol.subset, listed.protocol), row


def _place_published(published: PublishedRow) -> tuple[_Place, LeaderboardRow]:
    protocol = published.full_protocol()
    row = LeaderboardRow(
        method=published.method,
        error_pct=published.error_pct,
        origin=published.origin,
        no_rank_reason=published.no_rank_reason,
        note=published.note,
        published=published,
    )
    return (published.dataset, published.subset, protocol), row


def _tables(
    uri: str, placed: Iterable[tuple[_Place, LeaderboardRow]]
) -> tuple[tuple[LeaderboardTable, ...], list[str]]:
    """By name; tables that hold rows of ours before those that do not."""
    rows_at: dict[_Place, list[LeaderboardRow]] = defaultdict(list)
    for place, row in placed:
        rows_at[place].append(row)
    problems: list[str] = []
    tables = []
    kept = RankCache(uri)
    for (dataset, subset, protocol), rows in rows_at.items():
        rows.sort(key=lambda row: (row.error_pct, row.origin, row.method))
        seeds = seed_statistics([row.summary for row in rows])
        rows = [replace(row, seeds=own) if own else row for row, own in zip(rows, seeds, strict=True)]
        images_sha256, rows = _ranked(uri, rows, kept, problems)
        tables.append(
            LeaderboardTable(
                dataset=dataset, subset=subset, protocol=protocol, rows=tuple(rows), images_sha256=images_sha256
            )
        )
    kept.write()
    tables.sort(key=lambda table: (table.dataset, table.subset, table.protocol is None, str(table.protocol)))
    return tuple(sorted(tables, key=lambda table: all(row.summary is None for row in table.rows))), problems


def _ranked(
    uri: str, rows: list[LeaderboardRow], kept: RankCache, problems: list[str]
) -> tuple[str | None, list[LeaderboardRow]]:
    """The same rows with ranks, and the images that these were found on: those that most measured rows are of."""
    measured = [(place, row.summary) for place, row in enumerate(rows) if row.summary and not row.no_rank_reason]
    if not measured:
        return None, rows
    ((chosen, _),) = Counter(listed.images_sha256 for _, listed in measured).most_common(1)
    assert chosen is not None  # an entry without images has no errors either
    tested = [(place, listed) for place, listed in measured if listed.images_sha256 == chosen][:MAX_RANKED]
    reasons = {
        place: f"no rank: its {listed.num_images:,} images are not those of the rows with ranks"
        for place, listed in measured
        if listed.images_sha256 != chosen
    }
    compared = [listed for _, listed in tested]
    found = kept.get(compared)
    if found is None:
        error_pct_rn: list[Array] = []
        for place, listed in list(tested):
            try:
                error_pct_rn.append(load_errors(uri, listed.entry))
            except (ValueError, OSError) as error:
                tested.remove((place, listed))
                reasons[place] = "no rank: its errors by image cannot be read"
                problems.append(f"{uri}: entry {rows[place].entry_id} has no rank: {error}")
        found = _tested(np.stack(error_pct_rn), read_image_set(uri, chosen).group_n) if tested else []
        if len(tested) == len(compared):
            kept.put(compared, found)
    ranks = {place: rank for (place, _), rank in zip(tested, found, strict=True)}
    rows = list(rows)
    for place in (*ranks, *reasons):
        row = rows[place]
        rows[place] = replace(row, rank=ranks.get(place), unranked=reasons.get(place, row.no_rank_reason))
    return (chosen if tested else None), rows


def _tested(error_pct_rn: Array, group_n: NDArray[np.str_]) -> list[RankRange]:
    # Only what is wrong with the truth excludes an image here, and that is the same for all rows.
    kept_n = np.isfinite(error_pct_rn).all(axis=0)
    return rank_ranges(error_pct_rn[:, kept_n], group_n[kept_n])


def format_error(error_pct: float) -> str:
    """An error as all tables print it."""
    return f"{error_pct:.2f}"
