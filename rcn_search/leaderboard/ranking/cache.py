"""Ranks that were found before: the errors of a hundred rows need not be read and tested again if none has changed.

Beside the index of the leaderboard in this user's cache folder, by what was compared: its objects are named by their content,
and each counts only while it has the size and the time of change that it had. A file that is damaged or of another
version is made anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from rcn_search.leaderboard.entry_cache import EntrySummary, cache_path, read_cache, write_cache
from rcn_search.leaderboard.per_image import object_stamps
from rcn_search.leaderboard.ranking.statistics import RankRange

_VERSION = 1
"""Of the rule by which ranks are found, and of this file."""


class RankCache:
    """Ranks of the tables of a leaderboard.

    Those that are asked for or put are kept by `write`, others forgotten.
    """

    def __init__(self, leaderboard: str) -> None:
        self._board = leaderboard
        self._path = cache_path(leaderboard, "ranks")
        found = read_cache(self._path)
        self._before = found if isinstance(found, dict) else {}
        self._now: dict[str, list[list[int]]] = {}

    def get(self, rows: Sequence[EntrySummary]) -> list[RankRange] | None:
        """Of rows of the same images, best first; None if they are not known, or an object of theirs is not there."""
        name = self._name(rows)
        known = self._before.get(name or "")
        if name is None or known is None:
            return None
        self._now[name] = known
        return [RankRange(low, high) for low, high in known]

    def put(self, rows: Sequence[EntrySummary], ranks: Sequence[RankRange]) -> None:
        """What was found of rows whose errors were read and are whole."""
        name = self._name(rows)
        if name is not None:
            self._now[name] = [[each.low, each.high] for each in ranks]

    def write(self) -> None:
        """For the next time."""
        if self._now != self._before:
            write_cache(self._path, self._now)

    def _name(self, rows: Sequence[EntrySummary]) -> str | None:
        try:
            found = object_stamps(self._board, rows[0].images_sha256 or "", [each.errors_sha256 or "" for each in rows])
        except FileNotFoundError:
            return None
        compared = [(each.errors_sha256, each.error_pct, each.num_images) for each in rows]
        document = [_VERSION, rows[0].images_sha256, compared, found]
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()
