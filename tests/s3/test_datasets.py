"""A data set at every kind of place: imported, drawn, verified, shown and read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rcn_search import storage
from rcn_search.data.dataset import Dataset
from rcn_search.data.shards import DatasetError, read_manifest


def at(store: str) -> str:
    return storage.join(store, "data")


@pytest.mark.every_store
def test_mtfl_is_imported_shown_and_read(store: str, cli: Any, mtfl_folder: Any, mtfl_uri: str) -> None:
    uri = at(store)
    cli.run("data", "import", "mtfl", mtfl_folder, uri)
    assert read_manifest(uri).fingerprint == read_manifest(mtfl_uri).fingerprint
    grid = storage.join(store, "grid.png")
    assert "4 faces of train → " in cli.run("data", "show", uri, "--count", 4, "--out", grid)
    assert storage.read_bytes(grid).startswith(b"\x89PNG")
    assert "all intact" in cli.run("data", "verify", uri)
    here, there = Dataset(mtfl_uri), Dataset(uri)
    for name in there.manifest.split_names:
        one, other = here.split(name), there.split(name)
        assert np.array_equal(one.points_nk2, other.points_nk2)
        assert all(np.array_equal(a, b) for a, b in zip(one.images, other.images, strict=True))
    cli.run("data", "import", "mtfl", mtfl_folder, uri)  # this very data set is there: nothing to do


def test_generated_data_set_is_verified_and_not_overwritten(store: str, cli: Any) -> None:
    uri = at(store)
    cli.run("data", "generate", uri, "--train", 3, "--val", 2, "--test", 2)
    manifest = read_manifest(uri)
    assert manifest.num_rows("train") == 3
    assert "already holds the data set" in cli.fail("data", "generate", uri, "--train", 4, "--val", 2, "--test", 2)
    shard = storage.join(uri, manifest.splits["train"][0].file)
    storage.write_bytes(shard, storage.read_bytes(shard)[:-8])
    assert "train-00000.arrow" in cli.fail("data", "verify", uri)


def test_interrupted_import_is_no_data_set(store: str, cli: Any) -> None:
    uri = at(store)
    cli.run("data", "generate", uri, "--train", 3, "--val", 2, "--test", 2)
    storage.delete(storage.join(uri, "manifest.json"))
    with pytest.raises(DatasetError, match="no data set at"):
        Dataset(uri)
    cli.run("data", "generate", uri, "--train", 3, "--val", 2, "--test", 2)
    assert Dataset(uri).split("val").num_rows == 2
