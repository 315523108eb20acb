from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from rcn_search import storage
from rcn_search.data import importing
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import CLAIM_NAME, claim_destination, import_dataset
from rcn_search.data.shards import DatasetError, ShardInfo, read_manifest, shard_damage


class FourFaces(SyntheticImporter):
    in_processes = False

    def __init__(self, seed: int) -> None:
        super().__init__(num_train=2, num_val=1, num_test=1, seed=seed)


def claim(uri: str, fingerprint: str) -> object:
    return claim_destination(uri, name="faces", source_fingerprint=fingerprint)


def test_import_dataset_while_another_writes_is_refused(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shard = importing.write_shard

    def write_while_another_starts(*args: Any) -> ShardInfo:
        monkeypatch.setattr(importing, "write_shard", write_shard)
        with pytest.raises(DatasetError, match="belongs to another import, of other faces or with other options"):
            import_dataset(FourFaces(seed=1), store)
        return write_shard(*args)

    monkeypatch.setattr(importing, "write_shard", write_while_another_starts)
    manifest = import_dataset(FourFaces(seed=0), store).manifest
    assert [shard_damage(store, shard) for shards in manifest.splits.values() for shard in shards] == [None] * 3
    with pytest.raises(DatasetError, match="already holds the data set 'synthetic'"):
        import_dataset(FourFaces(seed=1), store)


def test_claim_destination_by_two_imports_grants_one(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    list_names = storage.list_names

    def list_while_another_claims(uri: str) -> list[str]:
        names = list_names(uri)
        monkeypatch.setattr(storage, "list_names", list_names)
        assert claim(uri, "the other") is None
        return names

    monkeypatch.setattr(storage, "list_names", list_while_another_claims)
    with pytest.raises(DatasetError, match="belongs to another import"):
        claim(store, "the first")
    assert claim(store, "the other") is None


def test_import_dataset_resumes_only_the_same_interrupted_import(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(importing, "write_manifest", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            import_dataset(FourFaces(seed=0), store)
    with pytest.raises(DatasetError, match="remove this one if that import is not running"):
        import_dataset(FourFaces(seed=1), store)
    assert import_dataset(FourFaces(seed=0), store).manifest == read_manifest(store)


def test_claim_destination_of_data_set_without_claim(synthetic_uri: str, tmp_path: Path) -> None:
    old = Path(shutil.copytree(synthetic_uri, tmp_path / "old"))
    (old / CLAIM_NAME).unlink()
    importer = SyntheticImporter(num_train=96, num_val=24, num_test=24)
    assert import_dataset(importer, str(old)).elapsed_s is None
    (old / "manifest.json").unlink()  # nobody knows whose shards these are
    with pytest.raises(DatasetError, match=r"is not empty \(it holds 'shards'\)"):
        import_dataset(importer, str(old))
