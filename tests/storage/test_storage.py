"""One contract for every kind of store, and a whole run whose files are all on object storage."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rcn_search import storage
from rcn_search.cli.main import app
from rcn_search.data.cache import shard_cache_folder
from rcn_search.data.dataset import Dataset
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import import_dataset
from rcn_search.data.shards import DatasetError
from tests.support.stores import every_store, on_a_server


@every_store
def test_write_bytes_then_read_bytes_returns_the_content(store: str) -> None:
    uri = storage.join(store, "a", "b.bin")
    assert not storage.exists(uri)
    storage.write_bytes(uri, memoryview(b"\x00\xff"))
    assert storage.read_bytes(uri) == b"\x00\xff"
    assert storage.exists(uri)
    storage.write_bytes(uri, b"")
    assert storage.read_bytes(uri) == b""


@every_store
def test_put_if_absent_keeps_the_existing_object(store: str) -> None:
    uri = storage.join(store, "once")
    storage.write_bytes(uri, b"first", if_absent=True)
    with pytest.raises(storage.ObjectExistsError, match=re.escape("once exists already")):
        storage.write_bytes(uri, b"second", if_absent=True)
    assert storage.read_bytes(uri) == b"first"
    assert storage.list_names(store) == ["once"]


@every_store
def test_list_names_lists_one_level_without_unfinished_writes(store: str) -> None:
    assert storage.list_names(storage.join(store, "nowhere")) == []
    for name in ("b", "a", "folder/deeper/c", ".a.0123.tmp"):
        storage.write_bytes(storage.join(store, name), b"x")
    assert storage.list_names(store) == ["a", "b", "folder"]


@every_store
def test_delete_twice_is_no_error(store: str) -> None:
    uri = storage.join(store, "a")
    storage.write_bytes(uri, b"x")
    storage.delete(uri)
    storage.delete(uri)
    assert not storage.exists(uri)
    assert storage.list_names(store) == []


@every_store
def test_read_of_a_missing_object_names_it(store: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        storage.read_bytes(storage.join(store, "gone.json"))
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        storage.read_json(storage.join(store, "gone.json"))


@every_store
def test_json_round_trip_and_invalid_documents(store: str) -> None:
    uri = storage.join(store, "a.json")
    document = {"ä": [1, 2.5, None, True], "b": {}}
    storage.write_json(uri, document)
    assert storage.read_json(uri) == document
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(uri, {"loss": float("nan")})
    assert storage.read_json(uri) == document
    for content in (b"{", b"\xff\xfe"):
        storage.write_bytes(uri, content)
        with pytest.raises(ValueError, match=re.escape(f"{uri} is not valid JSON")):
            storage.read_json(uri)


def test_absolute_is_independent_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("runs/a") == f"{tmp_path}/runs/a"
    assert storage.absolute("s3://bucket/runs/a") == "s3://bucket/runs/a"


def test_join_inserts_single_slashes() -> None:
    assert storage.join("s3://bucket/a/", "/b/", "c") == "s3://bucket/a/b/c"


@on_a_server
@every_store
def test_import_train_resume_and_evaluate_on_object_storage(store: str, tmp_path: Path) -> None:
    """Import, verify, train, resume and evaluate: no file but the shards' cache is local."""
    data, run = f"{store}/data", f"{store}/run"
    import_dataset(SyntheticImporter(num_train=8, num_val=4, num_test=4), data)
    config = tmp_path / "config.yaml"
    config.write_text(
        f"data: {{uri: '{data}'}}\nmodel: {{name: rcn, branches: 2, channels: 4}}\n"
        "schedule: {epochs: 1, batch_size: 8}\n"
        "compute: {precision: fp32, channels_last: false, threads: 1}\n"
    )
    train = ["train", str(config), "--out", run]
    for line, expected in [
        (["data", "verify", data], "3 shards, 16 rows: all intact"),
        (train, f"→ {run}/best.safetensors"),
        ([*train, "--resume"], "resumed after 1 of 1 epochs"),
        (["evaluate", f"{run}/best.safetensors", "--data", data], f"→ {run}/predictions-val.parquet"),
    ]:
        result = CliRunner().invoke(app, line)
        assert result.exit_code == 0, result.output
        assert expected in result.stdout
    files = {"best.safetensors", "config.json", "history.json", "last.safetensors", "predictions-val.parquet"}
    assert files <= {*storage.list_names(run)}


def damage_cache(data: str) -> None:
    """A local copy of a shard goes bad; the shard does not."""
    shard = Dataset(data).manifest.splits["train"][0]
    (shard_cache_folder() / f"{shard.sha256}.arrow").write_bytes(b"bad")


def damage_shard(data: str) -> None:
    shard = Dataset(data).manifest.splits["train"][0]
    damage_cache(data)
    storage.write_bytes(storage.join(data, shard.file), b"bad")


@pytest.mark.parametrize(("damage", "mended"), [(damage_cache, True), (damage_shard, False)])
@on_a_server
def test_damaged_shard_is_fetched_again_or_refused(store: str, damage: Callable[[str], None], mended: bool) -> None:
    data = f"{store}/verified"
    import_dataset(SyntheticImporter(num_train=2, num_val=1, num_test=1), data)
    assert Dataset(data).split("train").num_rows == 2
    damage(data)
    if mended:
        assert Dataset(data).split("train").num_rows == 2
    else:
        with pytest.raises(DatasetError, match=rf"damaged shard {data}/shards/train-00000.arrow: 3 bytes instead of"):
            Dataset(data).split("train")
