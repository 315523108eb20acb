"""Cache of ranks, so that the errors of a hundred rows are read and tested again only if one has changed.

It lies beside the cache of entries. Ranks are found by what was compared, and count only while the objects have the
size and modification time that they had.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from pydantic import StrictInt, TypeAdapter, ValidationError

from rcn_search.leaderboard.entry_cache import EntrySummary, read_cache, write_cache
from rcn_search.leaderboard.objects import object_stamp
from rcn_search.leaderboard.per_image import ERRORS, IMAGE_SETS
from rcn_search.leaderboard.ranking.statistics import RankRange

_VERSION = 1
"""Version of the ranking rule and of this file."""
_KIND = "ranks"
_Ranks = dict[str, list[tuple[StrictInt, StrictInt]]]
_RANKS: TypeAdapter[_Ranks] = TypeAdapter(_Ranks)


def _of_right_types(document: Any) -> _Ranks:
    try:
        return _RANKS.validate_python(document)
    except ValidationError:
        return {}


class RankCache:
    """Ranks of the tables of a leaderboard; `write` keeps those that were asked for or put since."""

    def __init__(self, leaderboard: str) -> None:
        self._leaderboard = leaderboard
        self._before = _of_right_types(read_cache(leaderboard, _KIND))
        self._used: _Ranks = {}

    def get(self, rows: Sequence[EntrySummary]) -> list[RankRange] | None:
        """Look up the ranks of rows of one image set, best first; None if unknown, or if an object is missing."""
        key = self._key(rows)
        ranks = self._before.get(key or "")
        if key is None or ranks is None or len(ranks) != len(rows):
            return None
        self._used[key] = ranks
        return [RankRange(low, high) for low, high in ranks]

    def put(self, rows: Sequence[EntrySummary], ranks: Sequence[RankRange]) -> None:
        """Put the ranks of rows whose errors were all read."""
        key = self._key(rows)
        if key is not None:
            self._used[key] = [(rank.low, rank.high) for rank in ranks]

    def write(self) -> None:
        """Write the cache file if it changes."""
        if self._used != self._before:
            write_cache(self._leaderboard, _KIND, self._used)

    def _key(self, rows: Sequence[EntrySummary]) -> str | None:
        errors = [row.errors_sha256 or "" for row in rows]
        try:
            stamps = [object_stamp(self._leaderboard, IMAGE_SETS, f"{rows[0].images_sha256}.json")]
            stamps += [object_stamp(self._leaderboard, ERRORS, f"{name}.npy") for name in errors]
        except FileNotFoundError:
            return None
        compared = [(row.errors_sha256, row.error_pct, row.num_images) for row in rows]
        document = [_VERSION, rows[0].images_sha256, compared, stamps]
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()
