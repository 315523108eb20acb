"""Leases of search processes that do not exist."""

from __future__ import annotations

import time
from typing import Any

from rcn_search import storage
from rcn_search.study.lease import LeaseOwner


def make_owner(**changes: object) -> LeaseOwner:
    """Process 7 on another machine, with changes."""
    return LeaseOwner.model_validate({"host": "elsewhere", "machine": "another", "pid": 7, **changes})


def put_lease(
    uri: str, number: int, owner: LeaseOwner, *, heartbeat_ago_s: float = 0.0, settings: dict[str, Any] | None = None
) -> None:
    """Write the lease of another process, with its last heartbeat so long ago."""
    at = time.time() - heartbeat_ago_s
    folder = storage.join(uri, f"leases/{number:06d}")
    record = {"owner": owner.model_dump(), "acquired_at": at - 1, "settings": settings or {}}
    storage.write_json(storage.join(folder, "acquired.json"), record, if_absent=True)
    storage.write_json(storage.join(folder, "heartbeat.json"), {"at": at})
