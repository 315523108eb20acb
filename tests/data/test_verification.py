from __future__ import annotations

import shutil
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from rcn_search.data.shards import read_manifest
from rcn_search.data.verification import dataset_problems
from tests.support.shards import read_shard, replace_shard


@pytest.fixture
def copy_uri(synthetic_uri: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(synthetic_uri, tmp_path / "copy"))


def problems_of(uri: Path | str) -> list[str]:
    return dataset_problems(str(uri), read_manifest(str(uri)))


def test_dataset_problems_of_intact_data_set_are_none(copy_uri: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert dataset_problems(str(copy_uri), read_manifest(str(copy_uri)), on_shard=lambda *at: seen.append(at)) == []
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_dataset_problems_name_every_damaged_shard(copy_uri: Path) -> None:
    replace_shard(copy_uri, "train", lambda table: pa.concat_tables([table, table.slice(0, 1)]))
    (copy_uri / "shards/val-00000.arrow").unlink()
    (copy_uri / "shards/test-00000.arrow").write_bytes(b"")
    size = read_manifest(str(copy_uri)).splits["test"][0].bytes
    assert problems_of(copy_uri) == [
        f"{copy_uri}/shards/train-00000.arrow: 97 rows at least instead of 96",
        f"{copy_uri}/shards/val-00000.arrow: missing",
        f"{copy_uri}/shards/test-00000.arrow: 0 bytes instead of {size:,}",
    ]


def test_dataset_problems_name_a_face_that_is_in_two_splits(copy_uri: Path) -> None:
    val = read_shard(copy_uri / "shards/val-00000.arrow")
    replace_shard(copy_uri, "train", lambda table: pa.concat_tables([val.slice(0, 2), table.slice(2)]))
    first = val.column("image_id")[0].as_py()
    assert problems_of(copy_uri) == [f"{copy_uri}: 2 image ids are there more than once, the first is {first!r}"]


def test_dataset_problems_of_remote_data_set_do_not_trust_the_cache(copy_uri: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(copy_uri), "/verified/data", recursive=True)
    try:
        assert problems_of("memory://verified/data") == []
        memory.pipe_file("/verified/data/shards/val-00000.arrow", b"x" * 9)
        (problem,) = problems_of("memory://verified/data")
        assert problem.startswith("memory://verified/data/shards/val-00000.arrow: 9 bytes instead of ")
    finally:
        memory.rm("/verified", recursive=True)
