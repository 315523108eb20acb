from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rcn_search.evaluation.figures.comparison import compare_methods
from rcn_search.evaluation.predictions import Predictions, write_predictions


@pytest.fixture
def written(make_predictions: Callable[..., Predictions], tmp_path: Path) -> Callable[..., str]:
    """Writes predictions that are off by so many per cent of the distance of the eyes, per image; the file's URI."""

    def write(name: str, off_pct: list[float], order: list[int] | None = None, **changes) -> str:
        perfect: Predictions = make_predictions(len(off_pct))
        pred = perfect.true_image_nk2.copy()
        pred[:, :, 0] += 0.6 * np.array(off_pct)[:, None]  # eyes 60 px apart in the image
        fields = {key: getattr(perfect, key) for key in ("image_id", "group", "true_image_nk2")}
        fields["pred_image_nk2"] = pred
        if order is not None:
            fields = {key: value[order] for key, value in fields.items()}
        meta = perfect.meta | {"method": name} | changes
        uri = str(tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}.parquet")
        write_predictions(make_predictions(len(off_pct), **fields, meta=meta), uri)
        return uri

    return write


def test_compare_methods_orders_images_as_the_first_file(written: Callable[..., str]) -> None:
    first = written("one", [4, 8, 2, 6], order=[2, 0, 3, 1])
    second = written("two", [1, 2, 3, np.nan], order=[1, 2, 3, 0])
    compared = compare_methods([first, second], "subpixel")
    assert compared.methods == ["one", "two"]
    np.testing.assert_allclose(compared.error_pct_mn, [[2, 4, 6, 8], [3, 1, np.nan, 2]], rtol=1e-4)
    assert compared.group_n.tolist() == ["group2", "group0", "group3", "group1"]
    assert compared.title == "aflw test: 3 images"
    assert compared.num_images == 3
    assert [read.image_id[row] for read, row in zip(compared.files, compared.row_mn[:, 0], strict=True)] == [
        "image2"
    ] * 2
    assert compared.pick_images(9).tolist() == [0, 1, 3], "the third is not included for both"
    assert compared.pick_images(2).tolist() == [0, 3]
    assert compared.find_images(["image3", "image2"]).tolist() == [2, 0]
    own = compared.errors_by_method()
    np.testing.assert_allclose(own["one"], [2, 4, 6, 8], rtol=1e-4)
    np.testing.assert_allclose(own["two"], [3, 1, 2], rtol=1e-4)


def test_compare_methods_distinguishes_equal_names(written: Callable[..., str]) -> None:
    uris = [written("one", [1, 2]), written("one", [1, 2])]
    assert compare_methods(uris, "rcn2016").methods == ["one (one-0.parquet)", "one (one-1.parquet)"]


def test_compare_methods_rejects_other_images(written: Callable[..., str]) -> None:
    first = written("one", [1, 2])
    for other in (written("two", [1, 2], fingerprint="0" * 64), written("two", [1, 2], split="val")):
        with pytest.raises(ValueError, match=r"are of different images: .*one-0.* on the same split"):
            compare_methods([first, other], "subpixel")
    with pytest.raises(ValueError, match=r"are of different images: .* 2 of split aflw .* 3 of split aflw"):
        compare_methods([first, written("two", [1, 2, 3])], "subpixel")
    with pytest.raises(ValueError, match="named twice"):
        compare_methods([first, first], "subpixel")
    with pytest.raises(ValueError, match="unknown protocol"):
        compare_methods([first], "best")


def test_compare_methods_rejects_other_image_names(
    make_predictions: Callable[..., Predictions], written: Callable[..., str], tmp_path: Path
) -> None:
    other = make_predictions(2, image_id=np.array(["image0", "image9"]))
    write_predictions(other, str(tmp_path / "other.parquet"))
    with pytest.raises(ValueError, match="are of different images"):
        compare_methods([written("one", [1, 2]), str(tmp_path / "other.parquet")], "subpixel")
