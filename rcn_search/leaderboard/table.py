"""Leaderboard entries and published rows, one table for each data set, subset and protocol.

Only measured rows on the same images are ranked (`ranking`). Published rows are placed among them by their printed
error, without a rank: without per-image errors there is nothing to test.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.metrics import Array
from rcn_search.evaluation.protocol import EvaluationProtocol
from rcn_search.leaderboard.entry_cache import EntrySummary, list_summaries
from rcn_search.leaderboard.location import PROJECT_LEADERBOARD
from rcn_search.leaderboard.objects import damaged_packs
from rcn_search.leaderboard.per_image import read_errors, read_image_set
from rcn_search.leaderboard.published import PUBLISHED, PublishedRow, load_published
from rcn_search.leaderboard.ranking.cache import RankCache
from rcn_search.leaderboard.ranking.seeds import SeedStatistics, seed_statistics
from rcn_search.leaderboard.ranking.statistics import RankRange, rank_ranges
from rcn_search.leaderboard.records import Entry
from rcn_search.leaderboard.test_evaluations import TestEvaluations, load_all_test_evaluations
from rcn_search.machine import gc_paused

UNSTATED = "not stated"
MAX_RANKED = 100
"""Only so many of the best rows of a table are tested against each other; rows after them have no rank."""
NO_ERRORS_STORED = "no rank: its per-image errors are not stored (rcn-search leaderboard rescore adds them)"


@dataclass(frozen=True, kw_only=True)
class LeaderboardRow:
    """One row of a table: an entry (``entry_id``, ``summary``) or a published row.

    Attributes:
        origin: ``ours``, a model of this project; ``reproduced``, measured by others than its authors, with this
            project's code if the row is an entry; ``reported``, taken from a publication.
        rank: Range of ranks, from 1; None if the row cannot be ranked.
        no_rank_reason: Why a measured row has no rank, or what a published row does not state. Empty for a published
            row that states everything, and for a measured row after the `MAX_RANKED` best ones.
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
        """The whole entry; None for a published row."""
        return self.summary.entry if self.summary else None


@dataclass(frozen=True, kw_only=True)
class LeaderboardTable:
    """Rows that may be compared or, without a protocol, rows that may not; lowest error first.

    ``images_sha256`` is the image set on which the ranked rows were tested; None if no row is ranked.
    """

    dataset: str
    subset: str
    protocol: EvaluationProtocol | None
    rows: tuple[LeaderboardRow, ...]
    images_sha256: str | None = None

    @property
    def protocol_name(self) -> str:
        """Name of the protocol, or `UNSTATED`."""
        return self.protocol.name if self.protocol else UNSTATED


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """All tables, with a line for every object of the leaderboard that could not be shown.

    ``test_evaluations`` are those of each test split that has any, by data set and subset.
    """

    tables: tuple[LeaderboardTable, ...]
    problems: tuple[str, ...] = ()
    uri: str = ""
    test_evaluations: Mapping[tuple[str, str], TestEvaluations] = field(default_factory=dict)

    @classmethod
    def load(cls, uri: str) -> Leaderboard:
        """Load the leaderboard at a path or URI; without published rows of its own it shows those of this project.

        >>> import rcn_search
        >>> leaderboard = rcn_search.Leaderboard.load("leaderboard").select("afw")
        >>> {str(table.subset) for table in leaderboard.tables}
        {'test'}
        """
        return build_leaderboard(uri)

    def select(self, dataset: str, subset: str | None = None) -> Leaderboard:
        """Select the tables of one data set, or of one subset of it."""
        tables = (table for table in self.tables if table.dataset == dataset and subset in (None, table.subset))
        return replace(self, tables=tuple(tables))

    def only_measured(self) -> Leaderboard:
        """Select the tables that hold more than published rows."""
        return replace(self, tables=tuple(table for table in self.tables if any(row.summary for row in table.rows)))


@gc_paused()
def build_leaderboard(uri: str) -> Leaderboard:
    """Load the leaderboard at ``uri``; if it has no published rows, those of this project are shown."""
    summaries, problems = list_summaries(uri)
    has_published = storage.exists(storage.join(uri, PUBLISHED))
    published, published_problems = load_published(uri if has_published else str(PROJECT_LEADERBOARD))
    rows = [_entry_row(entry_id, summary) for entry_id, summary in drop_superseded(summaries).items()]
    rows += [_published_row(row) for row in published]
    tables, unranked = _tables(uri, rows)
    evaluations = load_all_test_evaluations(uri, {(table.dataset, table.subset) for table in tables})
    missing = [] if storage.exists(uri) else [f"there is no leaderboard at {uri}: only published rows are shown"]
    damaged = [*damaged_packs(uri), *(line for each in evaluations.values() for line in each.damaged)]
    return Leaderboard(
        tables=tuple(tables),
        problems=(*missing, *damaged, *problems, *published_problems, *unranked),
        uri=uri,
        test_evaluations=evaluations,
    )


def drop_superseded(summaries: Mapping[str, EntrySummary]) -> dict[str, EntrySummary]:
    """Drop entries that a later entry of the same predictions replaces."""
    superseded = {
        summary.replaces
        for summary in summaries.values()
        if (replaced := summaries.get(summary.replaces or "")) and summary.entry.supersedes(replaced.entry)
    }
    return {entry_id: summary for entry_id, summary in summaries.items() if entry_id not in superseded}


def load_errors(leaderboard: str, entry: Entry) -> Array:
    """Load the per-image errors of an entry, (n,) in percent; NaN for images that do not count.

    `RcnSearchError` if it has none, they are missing or damaged, or their mean is not the error of the entry.
    """
    if entry.errors_sha256 is None or entry.images_sha256 is None:
        raise RcnSearchError(f"the leaderboard has no per-image errors of {entry.method}")
    try:
        num_images = len(read_image_set(leaderboard, entry.images_sha256).image_id_n)
        error_pct_n = read_errors(leaderboard, entry.errors_sha256)
    except FileNotFoundError as error:
        raise RcnSearchError(f"the per-image errors of {entry.method} are missing: {error}") from error
    counts_n = np.isfinite(error_pct_n)
    fits = len(error_pct_n) == num_images and int(counts_n.sum()) == entry.num_images
    if not fits or not np.isclose(error_pct_n[counts_n].mean(), entry.error_pct, rtol=1e-9, atol=1e-12):
        raise RcnSearchError(f"the per-image errors stored for {entry.method} are not those of its entry")
    return error_pct_n


_TableKey = tuple[str, str, EvaluationProtocol | None]
"""Data set, subset and protocol."""


def _entry_row(entry_id: str, summary: EntrySummary) -> tuple[_TableKey, LeaderboardRow]:
    num = summary.num_unpredicted
    # A method that predicts nothing for an image has not been measured on the whole subset.
    unpredicted = f"no rank: {num} images without a finite prediction" if num else ""
    row = LeaderboardRow(
        method=summary.method,
        error_pct=summary.error_pct,
        origin=summary.origin,
        no_rank_reason=unpredicted or ("" if summary.errors_sha256 else NO_ERRORS_STORED),
        entry_id=entry_id,
        summary=summary,
    )
    return (summary.protocol.dataset, summary.protocol.subset, summary.protocol), row


def _published_row(published: PublishedRow) -> tuple[_TableKey, LeaderboardRow]:
    row = LeaderboardRow(
        method=published.method,
        error_pct=published.error_pct,
        origin=published.origin,
        no_rank_reason=published.no_rank_reason,
        note=published.note,
        published=published,
    )
    return (published.dataset, published.subset, published.full_protocol()), row


def _tables(uri: str, keyed: Iterable[tuple[_TableKey, LeaderboardRow]]) -> tuple[list[LeaderboardTable], list[str]]:
    """Build the tables, ordered by name; tables with entries come before those without."""
    rows_by_key: dict[_TableKey, list[LeaderboardRow]] = defaultdict(list)
    for key, row in keyed:
        rows_by_key[key].append(row)
    problems: list[str] = []
    tables = []
    cache = RankCache(uri)
    for (dataset, subset, protocol), rows in rows_by_key.items():
        rows.sort(key=lambda row: (row.error_pct, row.origin, row.method))
        seeds = seed_statistics([row.summary for row in rows])
        rows = [replace(row, seeds=several) if several else row for row, several in zip(rows, seeds, strict=True)]
        table = LeaderboardTable(dataset=dataset, subset=subset, protocol=protocol, rows=tuple(rows))
        table, problems_of_table = _rank(uri, table, cache)
        tables.append(table)
        problems += problems_of_table
    cache.write()
    tables.sort(key=lambda table: (table.dataset, table.subset, table.protocol is None, str(table.protocol)))
    return sorted(tables, key=lambda table: all(row.summary is None for row in table.rows)), problems


def _rank(uri: str, table: LeaderboardTable, cache: RankCache) -> tuple[LeaderboardTable, list[str]]:
    """Rank the measured rows on the image set of most of them; also a line for each row whose errors cannot be read.

    If no row of that image set can be read, the next one counts.
    """
    measured = {i: row.summary for i, row in enumerate(table.rows) if row.summary and not row.no_rank_reason}
    reasons: dict[int, str] = {}
    problems: list[str] = []
    rank_of: dict[int, RankRange] = {}
    images_sha256: str | None = None
    for images_sha256, _ in Counter(summary.images_sha256 for summary in measured.values()).most_common():
        candidates = [i for i, summary in measured.items() if summary.images_sha256 == images_sha256][:MAX_RANKED]
        rank_of, unreadable = _rank_candidates(uri, {i: measured[i] for i in candidates}, cache)
        reasons |= dict.fromkeys(unreadable, "no rank: its per-image errors cannot be read")
        problems += [f"{uri}: entry {table.rows[i].entry_id} has no rank: {reason}" for i, reason in unreadable.items()]
        if rank_of:
            break
    for i, summary in measured.items():
        if rank_of and summary.images_sha256 != images_sha256:
            reasons.setdefault(i, f"no rank: its {summary.num_images:,} images are not those of the ranked rows")
    rows = [
        replace(row, rank=rank_of.get(i), no_rank_reason=reasons.get(i, row.no_rank_reason))
        for i, row in enumerate(table.rows)
    ]
    return replace(table, rows=tuple(rows), images_sha256=images_sha256 if rank_of else None), problems


def _rank_candidates(
    uri: str, candidates: Mapping[int, EntrySummary], cache: RankCache
) -> tuple[dict[int, RankRange], dict[int, str]]:
    """Rank rows of one image set, best first, by index; also why the errors of the other rows cannot be read."""
    compared = list(candidates.values())
    if (ranks := cache.get(compared)) is not None:
        return dict(zip(candidates, ranks, strict=True)), {}
    errors: dict[int, Array] = {}
    unreadable: dict[int, str] = {}
    for i, summary in candidates.items():
        try:
            errors[i] = load_errors(uri, summary.entry)
        except (ValueError, OSError) as error:
            unreadable[i] = str(error)
    if not errors:
        return {}, unreadable
    assert compared[0].images_sha256 is not None  # an entry without an image set has no errors either
    ranks = _test(np.stack(list(errors.values())), read_image_set(uri, compared[0].images_sha256).group_n)
    if not unreadable:
        cache.put(compared, ranks)
    return dict(zip(errors, ranks, strict=True)), unreadable


def _test(error_pct_rn: Array, group_n: NDArray[np.str_]) -> list[RankRange]:
    # Only a fault of the ground truth excludes an image here, and that is the same for all rows.
    counts_n = np.isfinite(error_pct_rn).all(axis=0)
    return rank_ranges(error_pct_rn[:, counts_n], group_n[counts_n])


def format_error(error_pct: float) -> str:
    """Format an error as all tables print it.

    >>> format_error(5.4321)
    '5.43'
    """
    return f"{error_pct:.2f}"
