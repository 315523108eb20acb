from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rcn_search import storage
from rcn_search.data.import_claim import CLAIM_NAME, claim_destination
from rcn_search.data.importers import base
from rcn_search.data.importers.base import import_dataset
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.shards import DatasetError, read_manifest, shard_damage


class Faces(SyntheticImporter):
    """Four of them."""

    in_processes = False

    def __init__(self, seed: int) -> None:
        super().__init__(num_train=2, num_val=1, num_test=1, seed=seed)


def claim(uri: str, fingerprint: str) -> object:
    return claim_destination(uri, name="faces", source_fingerprint=fingerprint)


def test_another_import_at_once_is_refused_and_damages_nothing(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shard = base.write_shard

    def while_another_comes(*args):
        monkeypatch.setattr(base, "write_shard", write_shard)
        with pytest.raises(DatasetError, match="belongs to another import, of other faces or with other options"):
            import_dataset(Faces(seed=1), store)
        return write_shard(*args)

    monkeypatch.setattr(base, "write_shard", while_another_comes)
    manifest = import_dataset(Faces(seed=0), store).manifest
    assert [shard_damage(store, shard) for shards in manifest.splits.values() for shard in shards] == [None] * 3
    with pytest.raises(DatasetError, match="already holds the data set 'synthetic'"):
        import_dataset(Faces(seed=1), store)


def test_of_two_that_find_nothing_one_may_write(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    list_names = storage.list_names

    def while_another_claims(uri: str) -> list[str]:
        names = list_names(uri)
        monkeypatch.setattr(storage, "list_names", list_names)
        assert claim(uri, "the other") is None
        return names

    monkeypatch.setattr(storage, "list_names", while_another_claims)
    with pytest.raises(DatasetError, match="belongs to another import"):
        claim(store, "the first")
    assert claim(store, "the other") is None


def test_what_was_killed_is_finished_by_the_same_import_alone(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(base, "write_manifest", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            import_dataset(Faces(seed=0), store)
    with pytest.raises(DatasetError, match="remove this one if that import is not running"):
        import_dataset(Faces(seed=1), store)
    assert import_dataset(Faces(seed=0), store).manifest == read_manifest(store)


def test_data_sets_from_before_claims_are_known(synthetic_uri: str, tmp_path: Path) -> None:
    old = Path(shutil.copytree(synthetic_uri, tmp_path / "old"))
    (old / CLAIM_NAME).unlink()
    importer = SyntheticImporter(num_train=96, num_val=24, num_test=24)
    assert import_dataset(importer, str(old)).elapsed_s is None
    (old / "manifest.json").unlink()  # whose shards are left is not known
    with pytest.raises(DatasetError, match=r"is not empty \(it holds 'shards'\)"):
        import_dataset(importer, str(old))
