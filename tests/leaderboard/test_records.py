from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rcn_search import storage
from rcn_search.leaderboard.records import Entry, add_entry, load_entries

Make = Callable[..., Entry]


def test_load_entries_returns_added_entries(make_entry: Make, store: str) -> None:
    entry = make_entry(excluded={"normalizer under 1 px": 2}, predictions_uri="s3://bucket/p.parquet")
    uri = add_entry(store, entry)
    entries, problems = load_entries(store)
    assert problems == []
    assert list(entries.values()) == [entry]
    assert Path(uri).name == f"{next(iter(entries))}.json"
    assert Path(uri).name.startswith("20261122T120000Z-0123456789ab-")


def test_add_entry_twice_adds_one(make_entry: Make, store: str) -> None:
    uri = add_entry(store, make_entry())
    change_object(store, {})
    before = storage.read_bytes(uri)
    assert add_entry(store, make_entry()) == uri
    assert storage.read_bytes(uri) == before  # not written again
    add_entry(store, make_entry(error_pct=5.434))
    assert len(load_entries(store)[0]) == 2


@pytest.mark.every_store
def test_add_entry_concurrently_keeps_all(make_entry: Make, store: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: add_entry(store, make_entry(error_pct=float(i // 2))), range(16)))
    entries, problems = load_entries(store)
    assert sorted(entry.error_pct for entry in entries.values()) == list(range(8))
    assert problems == []


def test_load_entries_empty_leaderboard_is_empty(store: str) -> None:
    assert load_entries(store) == ({}, [])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("torn.json", '{"method": "RC', "not valid JSON"),
        ("binary.json", b"\xff\x00", "not valid JSON"),
        ("list.json", "[]", "not an entry of a known schema version: document: "),
        ("alien.json", '{"some": "thing"}', "not an entry of a known schema version: "),
        pytest.param("deep.json", "[" * 100_000, "nested too deeply", id="deep"),
        ("notes.txt", "hello", "not a .json object"),
    ],
)
def test_load_entries_invalid_object_is_named_and_left_out(
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
    """Rewrite the only entry with changes and another layout of its JSON."""
    (name,) = storage.list_names(storage.join(leaderboard, "entries"))
    uri = storage.join(leaderboard, "entries", name)
    storage.write_bytes(uri, json.dumps(storage.read_json(uri) | change).encode())


@pytest.mark.every_store
def test_load_entries_changed_entry_is_left_out(make_entry: Make, store: str) -> None:
    add_entry(store, make_entry())
    change_object(store, {})  # another layout of the same content is fine
    assert load_entries(store)[1] == []
    change_object(store, {"error_pct": 1.0})
    entries, problems = load_entries(store)
    assert entries == {}
    assert "its content or its name was changed" in problems[0]


def test_load_entries_later_version_is_named(make_entry: Make, store: str) -> None:
    add_entry(store, make_entry())
    change_object(store, {"schema_version": 4})
    assert "known schema version: schema_version" in load_entries(store)[1][0]


@pytest.mark.parametrize(
    "changes",
    [
        {"error_pct": float("nan")},
        {"error_pct": -1.0},
        {"ci_high_pct": float("inf")},
        {"num_images": 0},
        {"num_params": 10**400},
        {"error_pct": 1e200},
        {"points": ((float("inf"), None, None),)},
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
def test_entry_impossible_value_is_refused(make_entry: Make, changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_entry(**changes)


def test_add_entry_names_time_in_utc(make_entry: Make, store: str) -> None:
    created = datetime(2026, 11, 22, 1, tzinfo=timezone(timedelta(hours=2)))
    assert "20261121T230000Z" in add_entry(store, make_entry(created=created))
