from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
import torch

from rcn_search.data import importing, shards
from rcn_search.data.cache import shard_cache_folder
from rcn_search.data.dataset import Dataset, epoch_batches, epoch_rows, open_dataset
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import import_dataset
from rcn_search.data.sample import Sample
from rcn_search.data.shards import DatasetError, Manifest, read_manifest, write_manifest
from tests.support.shards import read_shard, replace_shard, shard_bytes


@pytest.fixture
def copy_uri(synthetic_uri: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(synthetic_uri, tmp_path / "copy"))


def test_synthetic_import_of_same_seed_is_the_same(synthetic_uri: str, tmp_path: Path) -> None:
    importer = SyntheticImporter(num_train=96, num_val=24, num_test=24)
    again = import_dataset(importer, str(tmp_path / "again")).manifest
    assert again == read_manifest(synthetic_uri)
    other = import_dataset(
        SyntheticImporter(num_train=2, num_val=1, num_test=1, seed=1), str(tmp_path / "other")
    ).manifest
    assert other.splits["train"][0].sha256 != again.splits["train"][0].sha256


def test_split_of_several_shards_equals_one_shard(
    synthetic_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "ROWS_PER_SHARD", 40)
    importer = SyntheticImporter(num_train=96, num_val=24, num_test=24)
    many = Dataset(import_dataset(importer, str(tmp_path / "many")) and str(tmp_path / "many")).split("train")
    one = Dataset(synthetic_uri).split("train")
    rows = torch.tensor([95, 0, 39, 40, 41, 79, 80, 0])
    assert len(many.images) == 3
    assert torch.equal(many.images_at(rows), one.images_at(rows))
    assert torch.equal(many.points_nk2, one.points_nk2)
    assert many.image_id_n.tolist() == one.image_id_n.tolist()


def test_split_images_are_memory_mapped(synthetic_uri: str) -> None:
    before = pa.total_allocated_bytes()
    split = Dataset(synthetic_uri).split("train")
    assert split.images[0].shape == (96, 160, 160)
    assert pa.total_allocated_bytes() - before < split.images[0].numel() // 10


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [flip_byte, lambda path: path.write_bytes(path.read_bytes()[:-10]), Path.unlink])
def test_split_of_damaged_shard_is_refused(copy_uri: Path, damage: Callable[[Path], object]) -> None:
    damage(copy_uri / "shards/val-00000.arrow")
    dataset = Dataset(str(copy_uri))
    assert dataset.split("train").num_rows == 96
    with pytest.raises(DatasetError, match=r"damaged shard .*val-00000.arrow"):
        dataset.split("val")


def test_split_of_shard_with_several_batches_is_whole(synthetic_uri: str, copy_uri: Path) -> None:
    replace_shard(copy_uri, "val", lambda table: shard_bytes(table, rows_per_batch=5))
    split, expected = Dataset(str(copy_uri)).split("val"), Dataset(synthetic_uri).split("val")
    rows = torch.tensor([23, 0, 4, 5, 6, 20])
    assert split.image_id_n.tolist() == expected.image_id_n.tolist()
    assert torch.equal(split.points_nk2, expected.points_nk2)
    assert torch.equal(split.images_at(rows), expected.images_at(rows))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda table: pa.concat_tables([table, table.slice(0, 1)]), "25 rows at least instead of 24"),
        (lambda table: table.drop_columns(["face_box"]), "the column 'face_box' is missing"),
        (
            lambda table: pa.concat_tables([table.slice(0, 23), table.slice(0, 1)]),
            "1 image ids are there more than once",
        ),
    ],
)
def test_split_of_shard_that_contradicts_the_manifest_is_refused(
    copy_uri: Path, change: Callable[[pa.Table], pa.Table], problem: str
) -> None:
    replace_shard(copy_uri, "val", change)
    with pytest.raises(DatasetError, match=rf"damaged shard .*val-00000.arrow: {problem}.* Import the data set again"):
        Dataset(str(copy_uri)).split("val")


def test_split_with_a_face_in_two_shards_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "ROWS_PER_SHARD", 2)
    monkeypatch.setattr(SyntheticImporter, "in_processes", False)
    uri = tmp_path / "data"
    manifest = import_dataset(SyntheticImporter(num_train=4, num_val=1, num_test=1), str(uri)).manifest
    (_, second) = manifest.splits["train"]
    other = read_shard(uri / second.file)
    replace_shard(uri, "train", lambda table: pa.concat_tables([other.slice(0, 1), table.slice(1, 1)]))
    for _ in range(2):  # it is not remembered as read
        with pytest.raises(DatasetError, match=r"the split 'train' of .* is damaged: 1 image ids are there more than"):
            Dataset(str(uri)).split("train")
    assert Dataset(str(uri)).split("val").num_rows == 1


def test_union_with_a_face_in_two_splits_is_refused(copy_uri: Path) -> None:
    val = read_shard(copy_uri / "shards/val-00000.arrow")
    replace_shard(copy_uri, "train", lambda table: pa.concat_tables([val.slice(0, 1), table.slice(1)]))
    manifest = read_manifest(str(copy_uri))
    (copy_uri / "manifest.json").unlink()
    write_manifest(str(copy_uri), manifest.model_copy(update={"unions": {"both": ["train", "val"]}}))
    dataset = Dataset(str(copy_uri))
    assert dataset.split("train").num_rows == 96
    with pytest.raises(DatasetError, match=r"the split 'both' of .* is damaged: 1 image ids"):
        dataset.split("both")


def refingerprinted(document: dict[str, Any]) -> dict[str, Any]:
    """As a stranger would hand over a manifest: only its content is wrong."""
    with suppress(ValueError, TypeError):
        document["fingerprint"] = shards._fingerprint(document)
    return document


def shard_of(document: dict[str, Any], split: str = "val") -> dict[str, Any]:
    return document["splits"][split][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("schema_document", None) and m.update(keypoints="nobody's"), "unknown keypoint schema"),
        (lambda m: m.update(keypoints=["five"]), "keypoints: Input should be a valid string"),
        (lambda m: m.update(splits={}), "it has no splits"),
        (lambda m: m["splits"].update(val=[]), "a split without a shard"),
        (lambda m: m["splits"].update(val=m["splits"]["train"]), "it lists a shard or an attribute twice"),
        (lambda m: m.update(attributes=["pose", "pose"]), "it lists a shard or an attribute twice"),
        (lambda m: shard_of(m).update(rows=10**30), "val-00000.arrow cannot hold 1,000,000,000,000"),
        (lambda m: shard_of(m).update(rows=25), "val-00000.arrow cannot hold 25 images"),
        (lambda m: m.update(channels=3), "cannot hold"),
        (lambda m: m.update(channels=2), "channels"),
        (lambda m: m.update(test_splits={"tests": "a/b"}), "the test split 'tests' is no split"),
        (lambda m: m.update(notes=[float("nan")]), "notes.0: Input should be a valid string"),
        (lambda m: m.update(notes=None), "notes"),
        (lambda m: m.update({f"key{i}": i for i in range(5_000)}), "key9: Extra inputs .*\n… and 4,990 more$"),
    ],
)
def test_read_manifest_of_impossible_content_is_refused(
    copy_uri: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = copy_uri / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(refingerprinted(document)))
    with pytest.raises(
        DatasetError, match=rf"(?s)^{re.escape(str(copy_uri))}: damaged manifest: .*{message}"
    ) as caught:
        read_manifest(str(copy_uri))
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, '{"schema_version": 1' + "0" * 5_000 + "}", '{"name": "\\ud800"}', "{", "\xff", "null", ""],
)
def test_read_manifest_of_damaged_json_names_the_file(copy_uri: Path, content: str) -> None:
    (copy_uri / "manifest.json").write_text(content, encoding="latin-1")
    with pytest.raises(DatasetError, match=re.escape(str(copy_uri))):
        read_manifest(str(copy_uri))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m | {"schema_version": 99}, "schema version 99"),
        (lambda m: m | {"license": "free"}, "does not match its own fingerprint"),
        (lambda m: m | {"licence": m["license"]}, "damaged manifest"),
        (lambda m: {key: value for key, value in m.items() if key != "splits"}, "damaged manifest"),
        (lambda m: [], "schema version None"),
    ],
)
def test_read_manifest_of_damaged_file_is_refused(
    copy_uri: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = copy_uri / "manifest.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(DatasetError, match=message):
        read_manifest(str(copy_uri))


def test_read_manifest_with_licence_key_keeps_its_fingerprint(copy_uri: Path) -> None:
    """The first manifests have the British spelling."""
    path, expected = copy_uri / "manifest.json", read_manifest(str(copy_uri))
    path.write_text(path.read_text().replace('"license"', '"licence"'))
    assert read_manifest(str(copy_uri)) == expected


def test_split_of_unknown_name_lists_the_splits(synthetic_uri: str) -> None:
    with pytest.raises(DatasetError, match="no split 'aflw'; it has: train, val, test"):
        open_dataset(synthetic_uri).split("aflw")


def test_remote_split_is_cached_verified_and_fetched_again(
    synthetic_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RCN_SEARCH_CACHE", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    memory.put(synthetic_uri, "/bucket/synthetic", recursive=True)
    uri = "memory://bucket/synthetic"
    try:
        rows = torch.arange(24)
        expected = Dataset(synthetic_uri).split("val").images_at(rows)
        assert torch.equal(Dataset(uri).split("val").images_at(rows), expected)
        (cached,) = shard_cache_folder().glob("*.arrow")
        flip_byte(cached)  # the node's disk is damaged: fetched again
        assert torch.equal(Dataset(uri).split("val").images_at(rows), expected)
        flip_byte(cached)  # and the remote object too: refused by name
        memory.pipe_file("/bucket/synthetic/shards/val-00000.arrow", b"x" * 100)
        with pytest.raises(DatasetError, match=r"val-00000\.arrow"):
            Dataset(uri).split("val")
    finally:
        memory.rm("/bucket", recursive=True)


def test_read_manifest_without_newer_fields_uses_defaults(synthetic_uri: str) -> None:
    stored = json.loads(Path(synthetic_uri, "manifest.json").read_text())
    later = {"channels", "bordered", "unions", "notes"}
    assert not later & stored.keys()
    assert later < Manifest.model_fields.keys()
    assert {key: stored["splits"][key][0]["rows"] for key in stored["splits"]} == {"train": 96, "val": 24, "test": 24}
    dataset = Dataset(synthetic_uri)
    assert dataset.manifest.channels == 1
    split = dataset.split("val")
    assert torch.equal(split.edge_nk, torch.zeros(24, 5, dtype=torch.uint8))
    assert torch.equal(split.photo_n4, torch.tensor([0.0, 0, 160, 160]).expand(24, 4))


def test_sample_without_border_fields_is_all_photograph() -> None:
    box = np.zeros(4, np.float32)
    points = np.zeros((7, 2), np.float32)
    sample = Sample(
        image=np.zeros((160, 160), np.uint8),
        points=points,
        visible=np.ones(7, bool),
        box=box,
        face_box=box,
        image_id="a",
        group="a",
    )
    assert sample.edge.tolist() == [0] * 7
    assert sample.photo.tolist() == [0, 0, 160, 160]


@pytest.mark.parametrize(
    ("unions", "problem"),
    [
        ({"train": ["val"]}, "cannot be the union of"),
        ({"all": []}, "cannot be the union of"),
        ({"all": ["val", "gone"]}, "cannot be the union of"),
        ({"all": ["val", "test"]}, "holds a test split but is not a test split itself"),
    ],
)
def test_manifest_with_invalid_union_is_refused(synthetic_uri: str, unions: dict[str, list[str]], problem: str) -> None:
    document = json.loads(Path(synthetic_uri, "manifest.json").read_text())
    with pytest.raises(ValueError, match=problem):
        Manifest.model_validate(document | {"unions": unions})


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_epoch_batches_of_all_ranks_form_the_global_batches(num_ranks: int) -> None:
    global_batches = epoch_batches(103, 16, seed=1, epoch=4)
    parts = [epoch_batches(103, 16, seed=1, epoch=4, rank=r, num_ranks=num_ranks) for r in range(num_ranks)]
    for step, batch in enumerate(global_batches):
        joined = torch.cat([part[step] for part in parts])
        assert sorted(joined.tolist()) == sorted(batch.tolist())
    assert sorted(torch.cat(global_batches).tolist()) == list(range(103))


def test_epoch_rows_with_classes_balances_by_square_root() -> None:
    class_n = torch.cat([torch.zeros(900), torch.ones(100)]).long()
    class_n = class_n[torch.randperm(1_000, generator=torch.Generator().manual_seed(0))]
    rows = epoch_rows(1_000, class_n, seed=1, epoch=4)
    assert rows.shape == (1_000,)
    assert torch.bincount(class_n[rows]).tolist() == pytest.approx([750, 250], abs=20)  # 30 to 10
    times = torch.bincount(rows, minlength=1_000)
    assert (times[class_n == 1].min(), times[class_n == 1].max()) == (2, 3)  # 2.5 on average, rounded down or up
    assert times[class_n == 0].max() == 1
    assert not torch.equal(rows, epoch_rows(1_000, class_n, seed=1, epoch=5))
    assert torch.equal(epoch_rows(7, None, seed=1, epoch=4), torch.arange(7))


def test_epoch_rows_and_epoch_batches_draw_from_their_own_streams() -> None:
    """The rows that balance doubles are not at the same places of every epoch's order."""
    order = np.random.default_rng([1, 4, 1]).permutation(50)
    assert torch.cat(epoch_batches(50, 16, seed=1, epoch=4)).tolist() == order.tolist()
    balanced = epoch_rows(50, torch.zeros(50).long(), seed=1, epoch=4)
    assert sorted(balanced.tolist()) == list(range(50))
    assert balanced.tolist() == np.random.default_rng([1, 4, 2]).permutation(50).tolist()
    assert balanced.tolist() != order.tolist()


def test_epoch_batches_order_depends_on_seed_and_epoch() -> None:
    first = torch.cat(epoch_batches(50, 16, seed=1, epoch=0))
    assert torch.equal(first, torch.cat(epoch_batches(50, 16, seed=1, epoch=0)))
    assert not torch.equal(first, torch.cat(epoch_batches(50, 16, seed=1, epoch=1)))
    assert not torch.equal(first, torch.cat(epoch_batches(50, 16, seed=2, epoch=0)))
    assert torch.cat(epoch_batches(50, 16, seed=1, epoch=7, reshuffle=False)).tolist() == list(range(50))
