"""Where things are within the site. Names come from users, so a path is made of letters, digits and hashes only."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rcn_search.config.schema import canonical_hash
from rcn_search.leaderboard.records import Entry
from rcn_search.leaderboard.table import LeaderboardTable

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,119}")
_MAX_SLUG = 80


def slug(*parts: str) -> str:
    """``aflw-test-rcn2016`` of names of any kind."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")[:_MAX_SLUG] or "x"


def table_pages(tables: Sequence[LeaderboardTable]) -> list[str]:
    """The page of each table; where two would be the same, each gets a hash of its protocol."""
    names = [
        slug(table.dataset, table.subset, table.protocol_name, table.protocol.keypoints if table.protocol else "")
        for table in tables
    ]
    taken = {"index"} | {name for name in names if names.count(name) > 1}
    return [
        f"{name}-{_identity(table)}.html" if name in taken else f"{name}.html"
        for name, table in zip(names, tables, strict=True)
    ]


def entry_page(entry_id: str) -> str:
    """The page of an entry."""
    name = entry_id if _SAFE_ID.fullmatch(entry_id) else canonical_hash(entry_id)[:24]
    return f"entry/{name}.html"


def config_file(entry: Entry) -> str | None:
    """The configuration of an entry; entries of one run share it. None for predictions of other systems."""
    return f"config/{canonical_hash(entry.config)[:16]}.yaml" if entry.config else None


def _identity(table: LeaderboardTable) -> str:
    protocol = table.protocol.model_dump(mode="json") if table.protocol else None
    return canonical_hash([table.dataset, table.subset, protocol])[:8]
