from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcn_search import storage
from rcn_search.data import importing
from rcn_search.data.importers.base import Row, RowError
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import CLAIM_NAME, claim_destination, import_dataset, require_usable
from rcn_search.data.sample import Sample
from rcn_search.data.shards import DatasetError, Manifest, ShardInfo, read_manifest
from rcn_search.data.verification import dataset_problems


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
    assert dataset_problems(store, manifest) == []
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


@pytest.mark.parametrize("same_photographs", [True, False])
def test_import_dataset_that_ends_second_finds_the_data_set(
    store: str, monkeypatch: pytest.MonkeyPatch, same_photographs: bool
) -> None:
    write_manifest = importing.write_manifest

    def write_after_another(uri: str, manifest: Manifest) -> Manifest:
        monkeypatch.setattr(importing, "write_manifest", write_manifest)
        if same_photographs:
            import_dataset(FourFaces(seed=0), uri)
        else:
            other = [manifest.splits["train"][0].model_copy(update={"sha256": "0" * 64})]
            write_manifest(uri, manifest.model_copy(update={"splits": manifest.splits | {"train": other}}))
        return write_manifest(uri, manifest)

    monkeypatch.setattr(importing, "write_manifest", write_after_another)
    if same_photographs:
        summary = import_dataset(FourFaces(seed=0), store)
        assert (summary.elapsed_s, summary.manifest) == (None, read_manifest(store))
    else:
        with pytest.raises(DatasetError, match="another import of this source finished first, and its photographs"):
            import_dataset(FourFaces(seed=0), store)


def test_write_manifest_of_another_data_set_keeps_the_first(tmp_path: Path) -> None:
    manifests = [import_dataset(FourFaces(seed=seed), str(tmp_path / str(seed))).manifest for seed in (0, 1)]
    with pytest.raises(storage.ObjectExistsError):
        importing.write_manifest(str(tmp_path / "0"), manifests[1])
    assert read_manifest(str(tmp_path / "0")) == manifests[0]


def test_claim_destination_ignores_hidden_files(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    assert claim(str(tmp_path), "any") is None
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(DatasetError, match=r"not empty \(it holds 'thesis.tex'\)"):
        claim(str(tmp_path), "any")


def usable_sample() -> Sample:
    box = np.array([0, 0, 160, 160], np.float32)
    points = np.array([[60, 60], [100, 60], [80, 80], [65, 100], [95, 100]], np.float32)
    image = np.zeros((160, 160), np.uint8)
    names = {"image_id": "a", "group": "a"}
    return Sample(image=image, points=points, visible=np.ones(5, bool), box=box, face_box=box, **names)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"points": np.full((5, 2), np.inf)}, "the face has a point that is not finite"),
        ({"points": np.full((5, 2), 1e300)}, "the face has a point that is not finite"),
        ({"face_box": np.array([80, 80, 0, 0], np.float32)}, "the face has a face box of no size"),
        ({"box": np.array([0, np.nan, 1, 1], np.float32)}, "the face has a crop whose box is not finite"),
        ({"photo": np.array([0, 0, -1, 9], np.float32)}, "the face has a photograph of no size"),
        ({"image_id": "x" * 1_025}, "the face has a longer image_id than 1,024 characters"),
        ({"group": ""}, "the face has no group"),
        ({"attributes": {"pose": -1}}, "the face has an unknown class of 'pose'"),
        ({"attributes": {"gender": 2}}, "the face has an unknown class of 'gender'"),
        ({"attributes": {"age": 128}}, "the face has an unknown class of 'age'"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_require_usable_of_useless_face_is_refused(changed: dict[str, Any], reason: str) -> None:
    require_usable(usable_sample())
    with pytest.raises(RowError, match=reason):
        require_usable(replace(usable_sample(), **changed))


def test_import_dataset_refuses_a_useless_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_sample = FourFaces.read_sample

    def without_box(importer: FourFaces, row: Row) -> Sample:
        sample = read_sample(importer, row)
        return replace(sample, face_box=np.zeros(4, np.float32)) if row.line == 1 else sample

    monkeypatch.setattr(FourFaces, "read_sample", without_box)
    (refused,) = import_dataset(FourFaces(seed=0), str(tmp_path)).manifest.refused
    assert (refused.row, refused.reason) == ("train:1 0-0000001", "the face has a face box of no size")


def test_claim_destination_of_data_set_without_claim(synthetic_uri: str, tmp_path: Path) -> None:
    old = Path(shutil.copytree(synthetic_uri, tmp_path / "old"))
    (old / CLAIM_NAME).unlink()
    importer = SyntheticImporter(num_train=96, num_val=24, num_test=24)
    assert import_dataset(importer, str(old)).elapsed_s is None
    (old / "manifest.json").unlink()  # nobody knows whose shards these are
    with pytest.raises(DatasetError, match=r"is not empty \(it holds 'shards'\)"):
        import_dataset(importer, str(old))
