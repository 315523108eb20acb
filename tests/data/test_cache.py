from __future__ import annotations

import hashlib
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rcn_search import storage
from rcn_search.data import cache
from rcn_search.machine import CacheFolderError

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def small_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCN_SEARCH_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "_RANGE_BYTES", 1024)


@pytest.fixture
def uri() -> str:
    uri = f"memory://{uuid.uuid4().hex}/object"
    storage.write_bytes(uri, CONTENT)
    return uri


@pytest.fixture
def ranges(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Starts of all ranges that were read."""
    starts: list[int] = []
    real = storage.read_range

    def read(uri: str, start: int, stop: int) -> bytes:
        starts.append(start)
        return real(uri, start, stop)

    monkeypatch.setattr(storage, "read_range", read)
    return starts


def fetch(uri: str) -> tuple[Path, str | None]:
    return cache.fetch_to_cache(uri, num_bytes=len(CONTENT), sha256=SHA256)


def test_fetch_to_cache_by_many_threads_reads_each_range_once(uri: str, ranges: list[int]) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: fetch(uri), range(8)))
    assert {damage for _, damage in results} == {None}
    assert {path.read_bytes() for path, _ in results} == {CONTENT}
    assert sorted(ranges) == list(range(0, len(CONTENT), 1024))


@pytest.mark.parametrize(
    ("content", "damage"),
    [
        (CONTENT[:-1], "10,239 bytes instead of 10,240"),
        (CONTENT[:100], "100 bytes instead of 10,240"),
        (CONTENT + b"more", "10,241 bytes instead of 10,240"),
        (CONTENT[:-1] + b"x", "its content does not match its hash"),
    ],
)
def test_fetch_to_cache_of_damaged_object_retries_and_stores_nothing(
    uri: str, ranges: list[int], content: bytes, damage: str
) -> None:
    storage.write_bytes(uri, content)
    path, found_damage = fetch(uri)
    assert (found_damage, path.exists(), len(ranges)) == (damage, False, 20)
    assert not list(path.parent.glob("*.tmp"))


@pytest.mark.every_store
@pytest.mark.parametrize("store", ["moto", "swift"], indirect=True)
@pytest.mark.parametrize("size", [len(CONTENT), 1500])
def test_fetch_to_cache_of_object_store_verifies_its_size(store: str, size: int) -> None:
    storage.write_bytes(f"{store}/object", CONTENT[:size])
    path, damage = fetch(f"{store}/object")
    assert damage == (None if size == len(CONTENT) else "1,500 bytes instead of 10,240")
    assert path.exists() == (damage is None)


def test_fetch_to_cache_after_killed_process_starts_again(uri: str, tmp_path: Path) -> None:
    folder = cache.shard_cache_folder()
    folder.mkdir()
    (folder / f".{SHA256}.tmp").write_bytes(b"half a")
    lock = folder / f".{SHA256}.lock"
    program = f"import filelock; lock = filelock.FileLock({str(lock)!r}); lock.acquire(); print(1, flush=True); input()"
    with (
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as fetcher,
        ThreadPoolExecutor(1) as pool,
    ):
        assert fetcher.stdout.readline()
        waiting = pool.submit(fetch, uri)
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        fetcher.kill()
        path, damage = waiting.result(20)
    assert (damage, path.read_bytes()) == (None, CONTENT)


@pytest.mark.parametrize("place", ["file", "file/shards", "/dev/null"])
def test_fetch_to_cache_in_unusable_folder_names_the_variable(
    uri: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("a file, where a folder is wanted")
    monkeypatch.setenv("RCN_SEARCH_CACHE", str(tmp_path / place))
    with pytest.raises(CacheFolderError, match=r"Not a directory; memory://.* set RCN_SEARCH_CACHE to a folder"):
        fetch(uri)


def test_fetch_to_cache_of_missing_object_is_an_error_of_the_store() -> None:
    with pytest.raises(FileNotFoundError, match="there is no such object"):
        fetch(f"memory://{uuid.uuid4().hex}/object")
