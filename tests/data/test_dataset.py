from __future__ import annotations

import json
import shutil
from pathlib import Path

import fsspec
import pytest
import torch

from rcn_search.data.dataset import ShardedDataset, epoch_batches, open_dataset
from rcn_search.data.importers import base
from rcn_search.data.importers.base import import_dataset
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.shards import DatasetError, cache_folder, read_manifest


@pytest.fixture
def copy_uri(synthetic_uri: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(synthetic_uri, tmp_path / "copy"))


def test_same_seed_same_data_set(synthetic_uri: str, tmp_path: Path) -> None:
    importer = SyntheticImporter(num_train=96, num_val=24, num_test=24)
    again = import_dataset(importer, str(tmp_path / "again")).manifest
    assert again == read_manifest(synthetic_uri)
    other = import_dataset(
        SyntheticImporter(num_train=2, num_val=1, num_test=1, seed=1), str(tmp_path / "other")
    ).manifest
    assert other.splits["train"][0].sha256 != again.splits["train"][0].sha256


def test_several_shards_read_as_one(synthetic_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "ROWS_PER_SHARD", 40)
    importer = SyntheticImporter(num_train=96, num_val=24, num_test=24)
    many = ShardedDataset(import_dataset(importer, str(tmp_path / "many")) and str(tmp_path / "many")).split("train")
    one = ShardedDataset(synthetic_uri).split("train")
    rows = torch.tensor([95, 0, 39, 40, 41, 79, 80, 0])
    assert len(many.images) == 3
    assert torch.equal(many.images_at(rows), one.images_at(rows))
    assert torch.equal(many.points_nk2, one.points_nk2)
    assert many.image_id_n.tolist() == one.image_id_n.tolist()


def test_images_are_views_of_the_file(synthetic_uri: str) -> None:
    import pyarrow as pa

    before = pa.total_allocated_bytes()
    split = ShardedDataset(synthetic_uri).split("train")
    assert split.images[0].shape == (96, 160, 160)
    assert pa.total_allocated_bytes() - before < split.images[0].numel() // 10


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [flip_byte, lambda path: path.write_bytes(path.read_bytes()[:-10]), Path.unlink])
def test_damaged_shard_is_named(copy_uri: Path, damage) -> None:
    damage(copy_uri / "shards/val-00000.arrow")
    dataset = ShardedDataset(str(copy_uri))
    assert dataset.split("train").num_rows == 96
    with pytest.raises(DatasetError, match=r"damaged shard .*val-00000.arrow"):
        dataset.split("val")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m | {"schema_version": 99}, "schema version 99"),
        (lambda m: m | {"licence": "free"}, "does not match its own fingerprint"),
        (lambda m: {key: value for key, value in m.items() if key != "splits"}, "damaged manifest"),
        (lambda m: [], "schema version None"),
    ],
)
def test_damaged_manifest_is_refused(copy_uri: Path, change, message: str) -> None:
    path = copy_uri / "manifest.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(DatasetError, match=message):
        read_manifest(str(copy_uri))


def test_unknown_split_lists_the_known_ones(synthetic_uri: str) -> None:
    with pytest.raises(DatasetError, match="no split 'aflw'; it has: train, val, test"):
        open_dataset(synthetic_uri).split("aflw")


def test_remote_shards_are_cached_verified_and_fetched_again(
    synthetic_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RCN_SEARCH_CACHE", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    memory.put(synthetic_uri, "/bucket/synthetic", recursive=True)
    uri = "memory://bucket/synthetic"
    try:
        rows = torch.arange(24)
        expected = ShardedDataset(synthetic_uri).split("val").images_at(rows)
        assert torch.equal(ShardedDataset(uri).split("val").images_at(rows), expected)
        (cached,) = cache_folder().iterdir()
        flip_byte(cached)  # the node's disk is damaged: fetched again
        assert torch.equal(ShardedDataset(uri).split("val").images_at(rows), expected)
        flip_byte(cached)  # and the remote object too: refused by name
        memory.pipe_file("/bucket/synthetic/shards/val-00000.arrow", b"x" * 100)
        with pytest.raises(DatasetError, match=r"val-00000\.arrow"):
            ShardedDataset(uri).split("val")
    finally:
        memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_batches_are_the_same_for_any_number_of_workers(num_ranks: int) -> None:
    whole = epoch_batches(103, 16, seed=1, epoch=4)
    parts = [epoch_batches(103, 16, seed=1, epoch=4, rank=r, num_ranks=num_ranks) for r in range(num_ranks)]
    for step, batch in enumerate(whole):
        joined = torch.cat([part[step] for part in parts])
        assert sorted(joined.tolist()) == sorted(batch.tolist())
    assert sorted(torch.cat(whole).tolist()) == list(range(103))


def test_order_depends_on_seed_and_epoch() -> None:
    first = torch.cat(epoch_batches(50, 16, seed=1, epoch=0))
    assert torch.equal(first, torch.cat(epoch_batches(50, 16, seed=1, epoch=0)))
    assert not torch.equal(first, torch.cat(epoch_batches(50, 16, seed=1, epoch=1)))
    assert not torch.equal(first, torch.cat(epoch_batches(50, 16, seed=2, epoch=0)))
    assert torch.cat(epoch_batches(50, 16, seed=1, epoch=7, reshuffle=False)).tolist() == list(range(50))
