"""A board at every kind of place: entries, looks at test splits, published rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from rcn_search import storage
from rcn_search.evaluation.protocol import rcn2016
from rcn_search.leaderboard.entry import Entry, add_entry, load_entries, record_test_look
from rcn_search.leaderboard.published import load_published

ROW = "M,2016,aflw,test,five,rcn2016,eye_centres,5.5,S,\n"
HEADER = "method,year,dataset,subset,keypoints,protocol,normaliser,error_pct,source,note\n"

pytestmark = pytest.mark.every_store


def entry(error_pct: float) -> Entry:
    return Entry(
        method="RCN",
        protocol=rcn2016("aflw", "test", "five"),
        error_pct=error_pct,
        ci_low_pct=error_pct - 0.1,
        ci_high_pct=error_pct + 0.1,
        num_images=2995,
        run_id="0123456789ab",
        config={"seed": 0},
        fingerprint="f" * 64,
        num_params=1,
        multiply_adds=1,
        epochs=1,
        train_s=1.0,
        hardware="a server",
        code_version="0.1.0",
        created=datetime(2026, 11, 22, tzinfo=UTC),
        test_looks=1,
        predictions_sha256="0" * 64,
    )


def test_entries_are_added_once_and_by_many_at_once(store: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        uris = list(pool.map(lambda i: add_entry(store, entry(5.0 + i % 3)), range(6)))
    assert len({*uris}) == 3
    entries, problems = load_entries(store)
    assert (sorted(each.error_pct for each in entries.values()), problems) == ([5.0, 6.0, 7.0], [])


def test_an_entry_that_was_changed_is_left_out(store: str) -> None:
    uri = add_entry(store, entry(5.0))
    storage.write_json(uri, storage.read_json(uri) | {"error_pct": 1.0})
    entries, problems = load_entries(store)
    assert entries == {}
    assert uri in problems[0]


def test_no_look_is_lost(store: str) -> None:
    def look(_: int) -> int:
        return record_test_look(store, dataset="aflw", subset="test", method="RCN", run_id="ab12")

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(look, range(6)))
    assert max(counts) == 6
    assert record_test_look(store, dataset="aflw", subset="other", method="RCN", run_id="ab12") == 1


def test_published_rows_are_read(store: str) -> None:
    storage.write_bytes(storage.join(store, "published", "table.csv"), (HEADER + ROW).encode())
    rows, problems = load_published(store)
    assert ([row.error_pct for row in rows], problems) == ([5.5], [])
