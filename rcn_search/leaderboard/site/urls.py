"""Paths within the site. Names come from users, so paths are made of letters, digits and hashes only."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rcn_search.config.schema import canonical_hash
from rcn_search.leaderboard.records import Entry
from rcn_search.leaderboard.table import LeaderboardTable

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,119}")
_MAX_SLUG = 80


def slug(*parts: str) -> str:
    """Make a path-safe name.

    >>> slug("AFLW", "test", "rcn2016")
    'aflw-test-rcn2016'
    """
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")[:_MAX_SLUG] or "x"


def table_pages(tables: Sequence[LeaderboardTable]) -> list[str]:
    """Name the page of each table; tables with the same name get a hash of their protocol."""
    names = [
        slug(table.dataset, table.subset, table.protocol_name, table.protocol.keypoints if table.protocol else "")
        for table in tables
    ]
    ambiguous = {"index"} | {name for name in names if names.count(name) > 1}
    return [
        f"{name}-{_protocol_hash(table)}.html" if name in ambiguous else f"{name}.html"
        for name, table in zip(names, tables, strict=True)
    ]


def entry_page(entry_id: str) -> str:
    """Name the page of an entry."""
    name = entry_id if _SAFE_ID.fullmatch(entry_id) else canonical_hash(entry_id)[:24]
    return f"entry/{name}.html"


def config_file(entry: Entry) -> str | None:
    """Name the configuration file of an entry, shared by entries of one run; None for external predictions."""
    return f"config/{canonical_hash(entry.config)[:16]}.yaml" if entry.config else None


def _protocol_hash(table: LeaderboardTable) -> str:
    protocol = table.protocol.model_dump(mode="json") if table.protocol else None
    return canonical_hash([table.dataset, table.subset, protocol])[:8]
