"""Mean and spread of entries of one method that was trained with several seeds."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from rcn_search.config.schema import canonical_hash
from rcn_search.leaderboard.entry_cache import EntrySummary
from rcn_search.leaderboard.records import Entry


class SeedStatistics(NamedTuple):
    """Number of seeds of a method under one protocol, mean of their errors, and standard deviation between them."""

    num: int
    mean_pct: float
    sd_pct: float


def method_family(entry: Entry) -> str:
    """Hash what entries have in common that differ only in the seed and in where they were computed."""
    config = {key: value for key, value in entry.config.items() if key not in ("seed", "compute")}
    return canonical_hash([without_seed(entry.method), config, entry.fingerprint, entry.origin])


def without_seed(method: str) -> str:
    """Remove the seed from the name of a method.

    >>> without_seed("RCN, seed 2")
    'RCN'
    """
    return re.sub(r", seed \d+$", "", method)


def seed_statistics(rows: Sequence[EntrySummary | None]) -> list[SeedStatistics | None]:
    """Compute the statistics of each row of one protocol; None for published rows and for rows with a single seed."""
    by_name: dict[str, list[EntrySummary]] = defaultdict(list)
    for row in rows:
        if row and row.seed is not None:
            by_name[without_seed(row.method)].append(row)
    names = {name for name, members in by_name.items() if len({row.seed for row in members}) > 1}
    statistics_of: dict[str, SeedStatistics] = {}
    for name in names:
        families: dict[str, dict[int | None, float]] = defaultdict(dict)
        for row in by_name[name]:
            # Several entries of one seed are evaluations of the same weights, of which the first counts.
            families[method_family(row.entry)].setdefault(row.seed, row.error_pct)
        for family, errors in families.items():
            if len(errors) > 1:
                values = list(errors.values())
                statistics_of[family] = SeedStatistics(len(values), statistics.mean(values), statistics.stdev(values))
    return [
        statistics_of.get(method_family(row.entry)) if row and without_seed(row.method) in names else None
        for row in rows
    ]
