from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rcn_search import storage
from rcn_search.leaderboard import records as entry_module
from rcn_search.leaderboard.records import Entry, add_entry, load_entries
from rcn_search.leaderboard.test_evaluations import record_test_evaluation

Make = Callable[..., Entry]


def test_what_is_added_is_loaded(make_entry: Make, store: str) -> None:
    entry = make_entry(excluded={"normalizer under 1 px": 2}, predictions_uri="s3://bucket/p.parquet")
    uri = add_entry(store, entry)
    entries, problems = load_entries(store)
    assert problems == []
    assert list(entries.values()) == [entry]
    assert Path(uri).name == f"{next(iter(entries))}.json"
    assert Path(uri).name.startswith("20261122T120000Z-0123456789ab-")


def test_the_same_entry_twice_is_one(make_entry: Make, store: str) -> None:
    uri = add_entry(store, make_entry())
    change_object(store, {})
    before = storage.read_bytes(uri)
    assert add_entry(store, make_entry()) == uri
    assert storage.read_bytes(uri) == before  # not written again
    add_entry(store, make_entry(error_pct=5.434))
    assert len(load_entries(store)[0]) == 2


@pytest.mark.every_store
def test_many_add_at_once(make_entry: Make, store: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: add_entry(store, make_entry(error_pct=float(i // 2))), range(16)))
    entries, problems = load_entries(store)
    assert sorted(entry.error_pct for entry in entries.values()) == list(range(8))
    assert problems == []


def test_an_empty_board_has_no_entries(store: str) -> None:
    assert load_entries(store) == ({}, [])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("torn.json", '{"method": "RC', "not valid JSON"),
        ("binary.json", b"\xff\x00", "not valid JSON"),
        ("list.json", "[]", "not an entry of schema version 1, 2 or 3: it: "),
        ("alien.json", '{"some": "thing"}', "not an entry of schema version 1, 2 or 3: "),
        ("deep.json", "[" * 100_000, "recursion"),
        ("notes.txt", "hello", "not a .json object"),
    ],
)
def test_what_is_no_entry_is_named_and_left_out(
    make_entry: Make, store: str, name: str, content: str | bytes, reason: str
) -> None:
    add_entry(store, make_entry())
    folder = storage.join(store, "entries")
    storage.write_bytes(storage.join(folder, name), content.encode() if isinstance(content, str) else content)
    storage.write_bytes(storage.join(folder, "folder.json", "object.json"), b"{}")
    storage.write_bytes(storage.join(folder, ".gitkeep"), b"")
    entries, problems = load_entries(store)
    assert len(entries) == 1
    assert len(problems) == 2  # the object and the folder
    assert any(name in problem and reason in problem for problem in problems)


def change_object(leaderboard: str, change: dict[str, Any]) -> None:
    """Change the only entry, which gets another layout in any case."""
    (name,) = storage.list_names(storage.join(leaderboard, "entries"))
    uri = storage.join(leaderboard, "entries", name)
    storage.write_bytes(uri, json.dumps(storage.read_json(uri) | change).encode())


@pytest.mark.every_store
def test_an_entry_that_was_changed_is_left_out(make_entry: Make, store: str) -> None:
    add_entry(store, make_entry())
    change_object(store, {})  # another layout of the same content is fine
    assert load_entries(store)[1] == []
    change_object(store, {"error_pct": 1.0})
    entries, problems = load_entries(store)
    assert entries == {}
    assert "its content was changed" in problems[0]


def test_an_entry_of_a_later_version_is_named(make_entry: Make, store: str) -> None:
    add_entry(store, make_entry())
    change_object(store, {"schema_version": 4})
    assert "schema version 1, 2 or 3: schema_version" in load_entries(store)[1][0]


@pytest.mark.parametrize(
    "changes",
    [
        {"error_pct": float("nan")},
        {"error_pct": -1.0},
        {"ci_high_pct": float("inf")},
        {"num_images": 0},
        {"method": ""},
        {"method": "two\nlines"},
        {"method": "\x1b[2J escapes"},
        {"run_id": "../../etc/passwd"},
        {"created": datetime(2026, 1, 1)},  # no time zone
        {"predictions_sha256": "abc"},
        {"excluded": {"reason": -1}},
        {"surprise": 1},
    ],
)
def test_an_impossible_entry_is_refused(make_entry: Make, changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_entry(**changes)


def test_times_of_any_zone_are_named_in_utc(make_entry: Make, store: str) -> None:
    created = datetime(2026, 11, 22, 1, tzinfo=timezone(timedelta(hours=2)))
    assert "20261121T230000Z" in add_entry(store, make_entry(created=created))


def test_looks_are_counted_per_subset(store: str) -> None:
    def look(subset: str, **who: str) -> int:
        return record_test_evaluation(store, dataset="aflw", subset=subset, method="RCN", run_id="ab12", **who)

    before = datetime.now(UTC)
    assert [look("test"), look("test"), look("other"), look("test", who="me")] == [1, 2, 1, 3]
    folder = storage.join(store, "test_looks", "aflw-test")
    looks = [storage.read_json(storage.join(folder, name)) for name in storage.list_names(folder)]
    assert [each["who"] for each in looks][2] == "me"
    assert "@" in looks[0]["who"]
    assert looks[0]["method"] == "RCN"
    assert before <= datetime.fromisoformat(looks[0]["when"]) <= datetime.now(UTC)


@pytest.mark.every_store
def test_no_look_is_lost_within_one_tick_of_the_clock(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class StoppedClock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime(2026, 11, 22, tzinfo=tz)

    monkeypatch.setattr(entry_module, "datetime", StoppedClock)
    with ThreadPoolExecutor(8) as pool:
        counts = list(
            pool.map(
                lambda _: record_test_evaluation(store, dataset="a", subset="b", method="m", run_id="r"), range(16)
            )
        )
    assert max(counts) == len(storage.list_names(storage.join(store, "test_looks", "a-b"))) == 16


def test_a_look_cannot_climb_out_of_the_board(store: str) -> None:
    with pytest.raises(ValidationError):
        record_test_evaluation(store, dataset="../x", subset="b", method="m", run_id="r")
