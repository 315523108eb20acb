"""Ranks of a table with unchanged errors come from the cache; any change is seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rcn_search.leaderboard import table as table_module
from rcn_search.leaderboard.table import LeaderboardRow, build_leaderboard, load_errors

ERRORS = np.random.default_rng(0).gamma(9.0, 0.6, 40)


@pytest.fixture
def leaderboard(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, add_measured: Callable[..., str]) -> str:
    """Three methods on the same images."""
    monkeypatch.setenv("RCN_SEARCH_CACHE", str(tmp_path / "cache"))
    for number in range(3):
        add_measured(store, ERRORS * (1 + 0.3 * number), method=f"Model {number}")
    return store


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Methods whose errors were read."""
    names: list[str] = []

    def noted(leaderboard: str, entry: object) -> object:
        names.append(entry.method)
        return load_errors(leaderboard, entry)

    monkeypatch.setattr(table_module, "load_errors", noted)
    return names


def rows(leaderboard: str) -> list[LeaderboardRow]:
    return [row for table in build_leaderboard(leaderboard).only_measured().tables for row in table.rows if row.summary]


def ranks(leaderboard: str) -> list[str]:
    return [str(row.rank or row.no_rank_reason) for row in rows(leaderboard)]


def test_rank_cache_second_time_reads_nothing(leaderboard: str, reads: list[str]) -> None:
    first = ranks(leaderboard)
    assert first == ["1", "2", "3"]
    assert len(reads) == 3
    assert ranks(leaderboard) == first
    assert len(reads) == 3


def test_rank_cache_new_row_is_tested(leaderboard: str, reads: list[str], add_measured: Callable[..., str]) -> None:
    ranks(leaderboard)
    reads.clear()
    add_measured(leaderboard, ERRORS * 1.001, method="as good as the first")
    assert len(ranks(leaderboard)) == 4
    assert len(reads) == 4


@pytest.mark.parametrize("store", ["file"], indirect=True)  # elsewhere no server is asked
@pytest.mark.parametrize("damage", ["edited", "missing"])
def test_rank_cache_changed_errors_are_read_again(leaderboard: str, reads: list[str], damage: str) -> None:
    ranks(leaderboard)
    damaged = rows(leaderboard)[1].entry
    path = Path(leaderboard) / "per_image_errors" / f"{damaged.errors_sha256}.npy"
    if damage == "edited":
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    else:
        path.unlink()
    for _ in range(2):
        assert ranks(leaderboard) == ["1", "no rank: its per-image errors cannot be read", "2"]
        assert len(build_leaderboard(leaderboard).problems) == 1


def signed(document: object) -> bytes:
    """A cache file with the right checksum."""
    content = json.dumps(document).encode()
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def test_rank_cache_of_other_types_is_rebuilt(leaderboard: str, tmp_path: Path) -> None:
    first = ranks(leaderboard)
    (path,) = (tmp_path / "cache" / "leaderboards").glob("*.ranks.json")
    whole = path.read_bytes()
    ((key, cached),) = json.loads(whole.partition(b"\n")[2]).items()
    for wrong in ({key: cached[:-1]}, {key: [["1", "1"]] * 3}, {key: [[1]] * 3}, {key: 5}, [key], {key: None}):
        path.write_bytes(signed(wrong))
        assert ranks(leaderboard) == first
        assert path.read_bytes() == whole


@pytest.mark.parametrize("damage", [b"", b"x", b"0" * 64 + b"\n{}"])
def test_rank_cache_damaged_file_is_rebuilt(leaderboard: str, reads: list[str], damage: bytes, tmp_path: Path) -> None:
    first = ranks(leaderboard)
    (path,) = (tmp_path / "cache" / "leaderboards").glob("*.ranks.json")
    whole = path.read_bytes()
    path.write_bytes(damage)
    reads.clear()
    assert ranks(leaderboard) == first
    assert len(reads) == 3
    assert path.read_bytes() == whole
