"""Per-image errors and image sets: what is stored can be read again, and what cannot is not stored."""

from __future__ import annotations

import numpy as np
import pytest

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.leaderboard.per_image import ImageSet, read_errors, read_image_set, store_errors


def image_set(num_images: int) -> ImageSet:
    names = np.array([f"image{n}" for n in range(num_images)])
    return ImageSet(image_id_n=names, group_n=names, attributes={"pose": np.zeros(num_images, dtype=np.int8)})


@pytest.mark.parametrize("num_images", [0, 1, 7, 1_000])
def test_store_errors_reads_back_the_same(store: str, num_images: int) -> None:
    images, error_pct_n = image_set(num_images), np.arange(float(num_images))
    error_pct_n[::3] = np.nan
    names = store_errors(store, images, error_pct_n)
    np.testing.assert_array_equal(read_errors(store, names["errors_sha256"]), error_pct_n)
    read = read_image_set(store, names["images_sha256"])
    np.testing.assert_array_equal(read.image_id_n, images.image_id_n)
    np.testing.assert_array_equal(read.attributes["pose"], images.attributes["pose"])


def test_store_errors_of_more_images_than_can_be_read_is_refused(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_JSON_VALUES", 200)
    store_errors(store, image_set(33), np.zeros(33))
    with pytest.raises(RcnSearchError, match="34 images with 1 attributes are more than"):
        store_errors(store, image_set(34), np.zeros(34))


def test_read_image_set_repaired_one_is_read_again(store: str) -> None:
    names = store_errors(store, image_set(3), np.zeros(3))
    uri = storage.join(store, "image_sets", f"{names['images_sha256']}.json")
    content = storage.read_bytes(uri)
    storage.write_bytes(uri, content[:-10])
    with pytest.raises(RcnSearchError, match="valid JSON"):
        read_image_set(store, names["images_sha256"])
    storage.write_bytes(uri, content)
    if storage.is_local(store):
        assert len(read_image_set(store, names["images_sha256"]).image_id_n) == 3
