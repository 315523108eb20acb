"""Packed and loose objects are read alike; packing loses nothing, beside writers, beside packers and when killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rcn_search import storage
from rcn_search.leaderboard import objects, packing
from rcn_search.leaderboard.objects import list_objects, list_packs, read_object
from rcn_search.leaderboard.packing import pack
from rcn_search.leaderboard.records import load_entries
from rcn_search.leaderboard.table import build_leaderboard, load_errors
from rcn_search.leaderboard.test_evaluations import load_test_evaluations, record_test_evaluation
from rcn_search.storage import StorageError

Add = Callable[..., str]
NUM_IMAGES = 40


@pytest.fixture
def leaderboard(store: str, add_measured: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Twelve entries with their errors and three test evaluations; a small cache folder of its own."""
    monkeypatch.setenv("RCN_SEARCH_CACHE", str(tmp_path / "cache"))
    add_entries(add_measured, store, range(12))
    for number in range(3):
        record_test_evaluation(store, dataset="aflw", subset="test", method=f"m{number}", run_id="0123456789ab")
    return store


def add_entries(add: Add, leaderboard: str, numbers: range) -> None:
    for number in numbers:
        error_pct_n = np.random.default_rng(number).gamma(4, 1.4, NUM_IMAGES)
        add(leaderboard, error_pct_n, method=f"method {number}", run_id=f"{number:012x}")


def contents(leaderboard: str) -> tuple[object, ...]:
    """Everything that readers see."""
    entries, problems = load_entries(leaderboard)
    errors = {key: load_errors(leaderboard, entry).tolist() for key, entry in entries.items()}
    rows = [(str(row.rank), row.method) for table in build_leaderboard(leaderboard).tables for row in table.rows]
    return entries, problems, errors, rows, load_test_evaluations(leaderboard, "aflw", "test")


@pytest.mark.every_store
def test_pack_readers_see_the_same(leaderboard: str) -> None:
    before = contents(leaderboard)
    assert pack(leaderboard) == (12 + 12 + 1 + 3, 1)
    assert not storage.list_names(storage.join(leaderboard, "entries"))
    assert not storage.list_names(storage.join(leaderboard, "per_image_errors"))
    assert contents(leaderboard) == before
    objects._packs.clear()  # as in another process
    assert contents(leaderboard) == before
    assert pack(leaderboard) == (0, 1)


def test_pack_again_merges_small_packs_and_keeps_large_ones(
    leaderboard: str, add_measured: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(leaderboard)
    add_entries(add_measured, leaderboard, range(12, 15))
    assert storage.list_names(storage.join(leaderboard, "image_sets")) == []  # it is packed: not written again
    before = contents(leaderboard)
    (first,) = list_packs(leaderboard)
    assert pack(leaderboard) == (6, 1)
    assert list_packs(leaderboard) != [first]
    assert contents(leaderboard) == before
    monkeypatch.setattr(packing, "MAX_PACK_BYTES", 2_000)
    (second,) = list_packs(leaderboard)
    add_entries(add_measured, leaderboard, range(15, 16))
    assert pack(leaderboard).num_objects == 2
    assert second in list_packs(leaderboard)
    assert len(contents(leaderboard)[0]) == 16  # type: ignore[arg-type]


def test_pack_leaves_damaged_objects_loose(leaderboard: str) -> None:
    name, *_ = list_objects(leaderboard, "entries")
    uri = storage.join(leaderboard, "entries", name)
    storage.write_bytes(uri, storage.read_bytes(uri).replace(b"method", b"methud"))
    storage.write_bytes(storage.join(leaderboard, "entries", "alien.json"), b"{}")
    before = load_entries(leaderboard)
    pack(leaderboard)
    assert storage.list_names(storage.join(leaderboard, "entries")) == [name, "alien.json"]
    assert load_entries(leaderboard) == before
    assert len(before[1]) == 2


@pytest.mark.parametrize("store", ["file"], indirect=True)
def test_pack_of_old_layout_reads_as_before(leaderboard: str) -> None:
    before = contents(leaderboard)
    folder = Path(leaderboard)
    for today, old in objects.OLD_FOLDERS.items():
        (folder / today).rename(folder / old)
    objects._packs.clear()
    assert contents(leaderboard) == before
    pack(leaderboard)
    assert contents(leaderboard) == before


@pytest.mark.parametrize("fails_at", ["publish", "first delete", "last delete"])
def test_pack_interrupted_loses_nothing(leaderboard: str, fails_at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(leaderboard)
    deletes = 0

    def fail(uri: str, *arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    def delete(uri: str) -> None:
        nonlocal deletes
        deletes += 1
        if deletes == (1 if fails_at == "first delete" else 28):
            raise KeyboardInterrupt
        original(uri)

    original = storage.delete
    with monkeypatch.context() as patch:
        if fails_at == "publish":
            patch.setattr(storage, "write_bytes", fail)
        else:
            patch.setattr(storage, "delete", delete)
        with pytest.raises(KeyboardInterrupt):
            pack(leaderboard)
    objects._packs.clear()
    assert contents(leaderboard) == before
    pack(leaderboard)
    assert contents(leaderboard) == before
    assert not list(packing._loose_objects(leaderboard))


def test_pack_whose_new_pack_another_packer_merges_loses_nothing(
    leaderboard: str, add_measured: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(uri: str, content: bytes, *, if_absent: bool = False) -> None:
        original(uri, content, if_absent=if_absent)
        if "/packs/" in uri:
            monkeypatch.setattr(storage, "write_bytes", original)
            add_entries(add_measured, leaderboard, range(12, 14))
            assert pack(leaderboard).num_packs == 1
            assert uri.rpartition("/")[2] not in list_packs(leaderboard)

    original = storage.write_bytes
    monkeypatch.setattr(storage, "write_bytes", write)
    pack(leaderboard)
    assert len(load_entries(leaderboard)[0]) == 14
    assert load_entries(leaderboard)[1] == []


def test_pack_that_the_store_does_not_keep_deletes_nothing(leaderboard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(leaderboard)
    monkeypatch.setattr(storage, "write_bytes", lambda uri, content, if_absent: None)
    with pytest.raises(StorageError, match="nothing was deleted"):
        pack(leaderboard)
    assert contents(leaderboard) == before


@pytest.mark.parametrize("store", ["file"], indirect=True)
def test_read_object_finds_what_another_process_packed(leaderboard: str) -> None:
    name, *_ = list_objects(leaderboard, "entries")
    content = read_object(leaderboard, "entries", name)
    stale = dict(objects._packs)
    pack(leaderboard)
    objects._packs.clear()
    objects._packs.update(stale)
    assert read_object(leaderboard, "entries", name) == content


@pytest.mark.parametrize("store", ["file"], indirect=True)
@pytest.mark.parametrize("damage", ["cut", "byte", "text", "folder", "link", "other columns"])
def test_damaged_pack_is_named_and_the_rest_is_read(leaderboard: str, add_measured: Add, damage: str) -> None:
    pack(leaderboard)
    add_entries(add_measured, leaderboard, range(12, 14))
    sound = Path(leaderboard) / "packs" / list_packs(leaderboard)[0]
    path = sound.with_name("0" * 64 + ".arrow")
    if damage == "folder":
        path.mkdir()
    elif damage == "link":
        path.symlink_to(path)
    elif damage == "other columns":
        with pa.ipc.new_file(str(path), pa.schema([("name", pa.int64())])) as writer:
            writer.write_batch(pa.record_batch([pa.array([1])], names=["name"]))
    else:
        content = sound.read_bytes()
        middle = len(content) // 2
        changed = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
        path.write_bytes({"cut": content[:-20], "byte": changed, "text": b"ARROW1"}[damage])
    objects._packs.clear()
    entries, _ = load_entries(leaderboard)
    assert {f"method {number}" for number in range(14)} == {entry.method for entry in entries.values()}
    if damage != "byte":  # a batch is read when it is asked for
        assert path.name in "".join(objects.damaged_packs(leaderboard))
        assert path.name in "".join(build_leaderboard(leaderboard).problems)
        with pytest.raises(StorageError, match=f"{path.name}.*nothing was packed"):
            pack(leaderboard)


@pytest.mark.parametrize("store", ["file"], indirect=True)
def test_damaged_batch_of_a_pack_leaves_out_its_objects_only(
    leaderboard: str, add_measured: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_BATCH_BYTES", 4_000)
    pack(leaderboard)
    (name,) = list_packs(leaderboard)
    path = Path(leaderboard) / "packs" / name
    content = bytearray(path.read_bytes())
    start = content.index(b"\x28\xb5\x2f\xfd", len(content) // 3)  # a frame of Zstandard
    content[start : start + 8] = b"damaged!"
    path.write_bytes(content)
    objects._packs.clear()
    leaderboard_read = build_leaderboard(leaderboard)
    rows = [row.method for table in leaderboard_read.only_measured().tables for row in table.rows if row.entry]
    assert 0 < len(rows) < 12 or leaderboard_read.problems
    assert all(name in problem or "no rank" in problem for problem in leaderboard_read.problems)
    assert leaderboard_read.problems


PACK_FOREVER = """
import sys
from rcn_search.leaderboard.packing import pack
while True:
    pack(sys.argv[1])
    print(flush=True)
"""


def test_pack_beside_writers_and_killed_packers_loses_nothing(add_measured: Add, tmp_path: Path) -> None:
    leaderboard = str(tmp_path / "leaderboard")
    line = [sys.executable, "-c", PACK_FOREVER, leaderboard]
    packers = [subprocess.Popen(line, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for packer in packers:
            assert packer.stdout is not None
            packer.stdout.readline()
        for start in range(0, 60, 20):
            add_entries(add_measured, leaderboard, range(start, start + 20))
            entries, problems = load_entries(leaderboard)
            assert (len(entries), problems) == (start + 20, [])
        deadline = time.monotonic() + 60
        while not list_packs(leaderboard) and time.monotonic() < deadline:  # on a busy machine the first takes a while
            time.sleep(0.05)
        assert [packer.poll() for packer in packers] == [None, None]
    finally:
        for packer in packers:
            packer.kill()
            packer.communicate()
    assert list_packs(leaderboard)
    entries, problems = load_entries(leaderboard)
    assert (len(entries), problems) == (60, [])
    for entry in entries.values():
        assert len(load_errors(leaderboard, entry)) == NUM_IMAGES
