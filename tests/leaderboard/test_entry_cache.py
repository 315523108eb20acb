from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rcn_search import storage
from rcn_search.leaderboard import entry_cache
from rcn_search.leaderboard.entry_cache import list_summaries
from rcn_search.leaderboard.records import Entry, add_entry, load_entries, read_entries

Make = Callable[..., Entry]


@pytest.fixture
def leaderboard(make_entry: Make, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Thirty entries and an invalid object; leaderboards of any size have a cache."""
    monkeypatch.setenv("RCN_SEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(entry_cache, "MIN_CACHED_ENTRIES", 1)
    with ThreadPoolExecutor(8) as pool:
        entries = [make_entry(error_pct=float(number), auc=(1.0, 0.5, 2.0)) for number in range(30)]
        list(pool.map(lambda entry: add_entry(store, entry), entries))
    storage.write_bytes(storage.join(store, "entries", "alien.json"), b"{}")
    return store


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the objects that were read."""
    names: list[str] = []

    def noted(leaderboard: str, wanted: list[str]) -> tuple[dict[str, Entry], list[str]]:
        names.extend(wanted)
        return read_entries(leaderboard, wanted)

    monkeypatch.setattr(entry_cache, "read_entries", noted)
    return names


def load_cached(leaderboard: str) -> tuple[dict[str, Entry], list[str]]:
    """Load the entries as `load_entries` does, through the cache."""
    summaries, problems = list_summaries(leaderboard)
    return {entry_id: summary.entry for entry_id, summary in summaries.items()}, problems


def test_list_summaries_second_time_reads_only_invalid_objects(leaderboard: str, reads: list[str]) -> None:
    first = load_cached(leaderboard)
    assert first == load_entries(leaderboard)
    assert len(reads) == 31
    reads.clear()
    assert load_cached(leaderboard) == first
    assert reads == ["alien.json"]


def test_list_summaries_sees_added_and_deleted_entries(leaderboard: str, make_entry: Make, reads: list[str]) -> None:
    load_cached(leaderboard)
    reads.clear()
    gone, *_ = storage.list_names(storage.join(leaderboard, "entries"))
    storage.delete(storage.join(leaderboard, "entries", gone))
    added = Path(add_entry(leaderboard, make_entry(method="new"))).name
    assert load_cached(leaderboard) == load_entries(leaderboard)
    assert reads == [added, "alien.json"]


@pytest.mark.parametrize("store", ["file"], indirect=True)  # what an object store holds is not edited in place
@pytest.mark.parametrize("damage", ["edited", "torn", "same size"])
def test_list_summaries_changed_object_is_read_again(leaderboard: str, damage: str) -> None:
    load_cached(leaderboard)
    path = next((Path(leaderboard) / "entries").glob("*-0123456789ab-*.json"))
    text = path.read_text()
    if damage == "edited":
        path.write_text(json.dumps(json.loads(text) | {"error_pct": 0.001}))
    elif damage == "torn":
        path.write_text(text[:100])
    else:
        path.write_text(text.replace("RCN", "NCR"))
    assert load_cached(leaderboard) == load_entries(leaderboard)
    assert len(load_cached(leaderboard)[1]) == 2


def signed(document: object) -> bytes:
    """A cache file with the right checksum."""
    content = json.dumps(document).encode()
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """A change of the cached document."""

    def apply(whole: bytes) -> bytes:
        document = json.loads(whole.partition(b"\n")[2])
        change(document)
        return signed(document)

    return apply


def of_first_entry(**fields: Any) -> Callable[[bytes], bytes]:
    """A change of the fields of the first cached entry."""
    return changed(lambda document: next(iter(document["entries"].values()))[3].update(fields))


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: signed([]),
        lambda whole: signed(None),
        changed(lambda document: document.update(entries=[])),
        changed(lambda document: document.update(protocols=[])),
        changed(lambda document: document.pop("entries")),
        changed(lambda document: document["entries"].update(x=[1, 2])),
        of_first_entry(method=3),
        of_first_entry(error_pct="low"),
        of_first_entry(seed=[1]),
        of_first_entry(images_sha256=5),
        of_first_entry(surprise=1),
    ],
)
def test_list_summaries_cache_of_other_types_is_rebuilt(
    leaderboard: str, damage: Callable[[bytes], bytes], reads: list[str]
) -> None:
    load_cached(leaderboard)
    (path,) = (Path(os.environ["RCN_SEARCH_CACHE"]) / "leaderboards").iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    reads.clear()
    assert load_cached(leaderboard) == load_entries(leaderboard)
    assert len(reads) == 31
    assert path.read_bytes() == whole


@pytest.mark.parametrize("damage", [b"", b"x", b"0" * 64 + b"\n{}", "flip", "version"])
def test_list_summaries_damaged_cache_is_rebuilt(leaderboard: str, damage: bytes | str, reads: list[str]) -> None:
    load_cached(leaderboard)
    (path,) = (Path(os.environ["RCN_SEARCH_CACHE"]) / "leaderboards").iterdir()
    whole = path.read_bytes()
    if damage == "flip":
        path.write_bytes(whole.replace(b'"error_pct":3.0', b'"error_pct":0.1'))
    elif damage == "version":
        path.write_bytes(whole.replace(b'"index_version":4', b'"index_version":"x"'))
    else:
        assert isinstance(damage, bytes)
        path.write_bytes(damage)
    reads.clear()
    assert load_cached(leaderboard) == load_entries(leaderboard)
    assert len(reads) == 31
    assert path.read_bytes() == whole


def test_list_summaries_without_cache_gives_the_same(
    leaderboard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RCN_SEARCH_CACHE", str(tmp_path / "file"))
    assert load_cached(leaderboard) == load_entries(leaderboard)
    monkeypatch.setenv("RCN_SEARCH_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(entry_cache, "MIN_CACHED_ENTRIES", 256)
    assert load_cached(leaderboard) == load_entries(leaderboard)
    assert not (tmp_path / "other").exists()
