from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rcn_search.leaderboard import entry as entry_module
from rcn_search.leaderboard.entry import Entry, add_entry, load_entries, record_test_look

Make = Callable[..., Entry]


def test_what_is_added_is_loaded(make_entry: Make, tmp_path: Path) -> None:
    entry = make_entry(excluded={"normaliser under 1 px": 2}, predictions_uri="s3://bucket/p.parquet")
    uri = add_entry(str(tmp_path), entry)
    entries, problems = load_entries(str(tmp_path))
    assert problems == []
    assert list(entries.values()) == [entry]
    assert Path(uri).name == f"{next(iter(entries))}.json"
    assert Path(uri).name.startswith("20261122T120000Z-0123456789ab-")


def test_the_same_entry_twice_is_one(make_entry: Make, tmp_path: Path) -> None:
    uri = add_entry(str(tmp_path), make_entry())
    before = Path(uri).stat()
    assert add_entry(str(tmp_path), make_entry()) == uri
    assert Path(uri).stat().st_ino == before.st_ino  # not written again
    add_entry(str(tmp_path), make_entry(error_pct=5.434))
    assert len(load_entries(str(tmp_path))[0]) == 2


def test_a_board_may_be_on_object_storage(make_entry: Make) -> None:
    board = "memory://test-entry-board"
    add_entry(board, make_entry())
    add_entry(board, make_entry())
    entries, problems = load_entries(board)
    assert (list(entries.values()), problems) == ([make_entry()], [])


def test_many_add_at_once(make_entry: Make, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: add_entry(str(tmp_path), make_entry(error_pct=float(i % 20))), range(40)))
    entries, problems = load_entries(str(tmp_path))
    assert sorted(entry.error_pct for entry in entries.values()) == list(range(20))
    assert problems == []


def test_an_empty_board_has_no_entries(tmp_path: Path) -> None:
    assert load_entries(str(tmp_path / "none")) == ({}, [])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("torn.json", '{"method": "RC', "not valid JSON"),
        ("binary.json", b"\xff\x00", "not valid JSON"),
        ("list.json", "[]", "not an entry of schema version 1 or 2: it: "),
        ("alien.json", '{"some": "thing"}', "not an entry of schema version 1 or 2: "),
        ("deep.json", "[" * 100_000, "recursion"),
        ("notes.txt", "hello", "not a .json object"),
    ],
)
def test_what_is_no_entry_is_named_and_left_out(
    make_entry: Make, tmp_path: Path, name: str, content: str | bytes, reason: str
) -> None:
    add_entry(str(tmp_path), make_entry())
    (tmp_path / "entries" / name).write_bytes(content.encode() if isinstance(content, str) else content)
    (tmp_path / "entries" / "folder.json").mkdir()
    (tmp_path / "entries" / ".gitkeep").touch()
    entries, problems = load_entries(str(tmp_path))
    assert len(entries) == 1
    assert len(problems) == 2  # the object and the folder
    assert any(name in problem and reason in problem for problem in problems)


def change_file(board: Path, change: dict[str, Any]) -> None:
    (path,) = (board / "entries").glob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def test_an_entry_that_was_changed_is_left_out(make_entry: Make, tmp_path: Path) -> None:
    add_entry(str(tmp_path), make_entry())
    change_file(tmp_path, {})  # another layout of the same content is fine
    assert load_entries(str(tmp_path))[1] == []
    change_file(tmp_path, {"error_pct": 1.0})
    entries, problems = load_entries(str(tmp_path))
    assert entries == {}
    assert "its content was changed" in problems[0]


def test_an_entry_of_a_later_version_is_named(make_entry: Make, tmp_path: Path) -> None:
    add_entry(str(tmp_path), make_entry())
    change_file(tmp_path, {"schema_version": 3})
    assert "schema version 1 or 2: schema_version" in load_entries(str(tmp_path))[1][0]


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


def test_times_of_any_zone_are_named_in_utc(make_entry: Make, tmp_path: Path) -> None:
    created = datetime(2026, 11, 22, 1, tzinfo=timezone(timedelta(hours=2)))
    assert "20261121T230000Z" in add_entry(str(tmp_path), make_entry(created=created))


def test_looks_are_counted_per_subset(tmp_path: Path) -> None:
    def look(subset: str, **who: str) -> int:
        return record_test_look(str(tmp_path), dataset="aflw", subset=subset, method="RCN", run_id="ab12", **who)

    before = datetime.now(UTC)
    assert [look("test"), look("test"), look("other"), look("test", who="me")] == [1, 2, 1, 3]
    looks = [json.loads(path.read_text()) for path in sorted((tmp_path / "test_looks" / "aflw-test").glob("*.json"))]
    assert [each["who"] for each in looks][2] == "me"
    assert "@" in looks[0]["who"]
    assert looks[0]["method"] == "RCN"
    assert before <= datetime.fromisoformat(looks[0]["when"]) <= datetime.now(UTC)


def test_no_look_is_lost_within_one_tick_of_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class StoppedClock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime(2026, 11, 22, tzinfo=tz)

    monkeypatch.setattr(entry_module, "datetime", StoppedClock)
    with ThreadPoolExecutor(8) as pool:
        counts = list(
            pool.map(
                lambda _: record_test_look(str(tmp_path), dataset="a", subset="b", method="m", run_id="r"), range(40)
            )
        )
    assert max(counts) == len(list((tmp_path / "test_looks" / "a-b").iterdir())) == 40


def test_a_look_cannot_climb_out_of_the_board(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        record_test_look(str(tmp_path), dataset="../x", subset="b", method="m", run_id="r")
