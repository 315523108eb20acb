"""Entries of one method trained with several seeds: what one number cannot say."""

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
    """The same method trained with several seeds, under one protocol.

    ``num`` entries of different seeds, the mean of their errors, and the standard deviation between them.
    """

    num: int
    mean_pct: float
    sd_pct: float


def method_family(entry: Entry) -> str:
    """What entries have in common that differ in the seed only, on whatever they were computed."""
    config = {key: value for key, value in entry.config.items() if key not in ("seed", "compute")}
    return canonical_hash([without_seed(entry.method), config, entry.fingerprint, entry.origin])


def without_seed(method: str) -> str:
    """The name of a method, where it is that of one of its seeds, as in ``RCN, seed 2``."""
    return re.sub(r", seed \d+$", "", method)


def seed_statistics(rows: Sequence[EntrySummary | None]) -> list[SeedStatistics | None]:
    """Of each entry of one protocol; None for what has one seed only, or is no entry."""
    namesakes: dict[str, list[EntrySummary]] = defaultdict(list)
    for listed in rows:
        if listed and listed.seed is not None:
            namesakes[without_seed(listed.method)].append(listed)
    several = {name for name, each in namesakes.items() if len({listed.seed for listed in each}) > 1}
    found: dict[str, SeedStatistics] = {}
    for name in several:
        families: dict[str, dict[int | None, float]] = defaultdict(dict)
        for listed in namesakes[name]:
            # Of several entries of one seed, which are the same weights looked at again, the first counts.
            families[method_family(listed.entry)].setdefault(listed.seed, listed.error_pct)
        for same, errors in families.items():
            if len(errors) > 1:
                values = list(errors.values())
                found[same] = SeedStatistics(len(values), statistics.mean(values), statistics.stdev(values))
    return [
        found.get(method_family(listed.entry)) if listed and without_seed(listed.method) in several else None
        for listed in rows
    ]
