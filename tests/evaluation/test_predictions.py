from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rcn_search.evaluation.predictions import METADATA_KEY, Predictions, read_predictions, write_predictions

Make = Callable[..., Predictions]


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "predictions.parquet")


@pytest.mark.parametrize(("num_images", "keypoints"), [(3, "five"), (2, "ibug68"), (0, "five")])
def test_write_and_read_round_trip(make_predictions: Make, uri: str, num_images: int, keypoints: str) -> None:
    written = make_predictions(num_images, keypoints)
    rng = np.random.default_rng(0)
    for each in fields(Predictions):
        values = getattr(written, each.name)
        if isinstance(values, np.ndarray) and values.dtype == np.float32:
            values += rng.random(values.shape, dtype=np.float32)
    digest = write_predictions(written, uri)
    read = read_predictions(uri)
    for each in fields(Predictions):
        before, after = getattr(written, each.name), getattr(read, each.name)
        if isinstance(before, np.ndarray):
            np.testing.assert_array_equal(after, before, strict=before.dtype.kind != "U")
    np.testing.assert_array_equal(read.attributes["pose"], written.attributes["pose"], strict=True)
    assert read.meta == written.meta | {"schema_version": 2}
    assert digest == hashlib.sha256(Path(uri).read_bytes()).hexdigest()


def test_encode_is_deterministic(make_predictions: Make, tmp_path: Path) -> None:
    digests = [write_predictions(make_predictions(), str(tmp_path / name)) for name in "ab"]
    assert digests[0] == digests[1]


def test_round_trip_keeps_non_finite_predictions(make_predictions: Make, uri: str) -> None:
    predictions = make_predictions()
    predictions.pred_image_nk2[1, 2] = [np.nan, np.inf]
    write_predictions(predictions, uri)
    np.testing.assert_array_equal(read_predictions(uri).pred_image_nk2, predictions.pred_image_nk2)


def test_file_has_the_documented_columns(make_predictions: Make, uri: str) -> None:
    write_predictions(make_predictions(), uri)
    table = pq.read_table(uri)
    assert table.column_names == [
        *("image_id", "group", "box", "face_box", "visible", "true_crop", "pred_crop", "true_image", "pred_image"),
        *("pred_cell", "confidence", "attr_pose"),
    ]
    assert table.column("true_crop")[0].as_py()[:4] == pytest.approx([65, 68, 95, 68])  # x, y, x, y
    assert table.schema.field("pred_cell").type.value_type == pa.int16()


def rewrite(uri: str, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(uri)), uri)


def with_meta(**changes: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        meta = json.loads(table.schema.metadata[METADATA_KEY]) | changes
        meta = {key: value for key, value in meta.items() if value is not None}
        return table.replace_schema_metadata({METADATA_KEY: json.dumps(meta).encode()})

    return change


def with_column(name: str, values: pa.Array) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.column_names.index(name), name, values)


def test_read_accepts_every_list_type(make_predictions: Make, uri: str) -> None:
    predictions = make_predictions()
    write_predictions(predictions, uri)
    rewrite(
        uri,
        with_column("true_crop", pa.array(predictions.true_crop_nk2.reshape(3, 10).tolist(), pa.list_(pa.float64()))),
    )
    np.testing.assert_array_equal(read_predictions(uri).true_crop_nk2, predictions.true_crop_nk2, strict=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["pred_crop"]), "no column 'pred_crop'"),
        (lambda table: table.drop_columns(["image_id"]), "no column 'image_id'"),
        (lambda table: with_column("group", pa.array([{"a": "b"}] * 3))(table), "column 'group' has struct"),
        (with_column("true_image", pa.array([[1.0] * 8] * 3)), r"'true_image' has lists of \[8\] values.*need 10"),
        (with_column("box", pa.array([[1.0] * 4, [1.0] * 3, [1.0] * 4])), r"'box' has lists of \[4, 3\] values"),
        (with_column("box", pa.array([[1.0] * 4, None, [1.0] * 4])), "'box' has 1 empty values"),
        (with_column("confidence", pa.array([[None] * 5] * 3, pa.list_(pa.float32()))), "'confidence' has 15 empty"),
        (with_column("box", pa.array(["a", "b", "c"])), "'box' has string values; it needs numbers"),
        (with_column("box", pa.array([1.0, 2.0, 3.0])), "'box' has double values; it needs lists"),
        (with_column("image_id", pa.array(["a", "b", "a"])), "image_id 'a' occurs 2 times"),
        (with_meta(schema_version=3), "schema version 3; this rcn-search reads versions 1 and 2"),
        (with_meta(grid_px=None), "metadata lacks grid_px"),
        (with_meta(keypoints="seven"), "unknown keypoint schema 'seven'"),
        (with_meta(keypoints="ibug68"), "need 68"),
        (with_meta(keypoints={}), r"keypoints in the metadata is \{\}, not str"),
        (with_meta(grid_px=True), "grid_px in the metadata is True, not int"),
        (lambda table: table.replace_schema_metadata({}), "no rcn_search metadata"),
        (lambda table: table.replace_schema_metadata({METADATA_KEY: b"{"}), "Expecting property name"),
        (lambda table: table.replace_schema_metadata({METADATA_KEY: b"[" * 10**5}), "nested too deeply"),
    ],
)
def test_read_rejects_mismatched_file_by_name(
    make_predictions: Make, uri: str, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    write_predictions(make_predictions(), uri)
    rewrite(uri, change)
    with pytest.raises(ValueError, match=rf"predictions\.parquet: .*{message}"):
        read_predictions(uri)


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1" * 10])
def test_read_rejects_other_content(uri: str, content: bytes) -> None:
    Path(uri).write_bytes(content)
    with pytest.raises(ValueError, match=r"predictions\.parquet: not a readable Parquet file"):
        read_predictions(uri)


def test_read_rejects_truncated_file(make_predictions: Make, uri: str) -> None:
    write_predictions(make_predictions(), uri)
    content = Path(uri).read_bytes()
    Path(uri).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="not a readable Parquet file"):
        read_predictions(uri)


def test_read_without_file_fails(uri: str) -> None:
    with pytest.raises(FileNotFoundError):
        read_predictions(uri)


def test_predictions_reject_mismatched_arrays(make_predictions: Make) -> None:
    with pytest.raises(ValueError, match=r"box has shape \(2, 4\); 3 images with the 5 points of 'five' need \(3, 4\)"):
        make_predictions(3, box=np.zeros((2, 4), dtype=np.float32))
    with pytest.raises(ValueError, match="attribute 'smile'"):
        make_predictions(3, attributes={"smile": np.zeros(2, dtype=np.int8)})
    with pytest.raises(ValueError, match="meta lacks dataset, subset"):
        make_predictions(3, meta={"keypoints": "five"})


def test_read_schema_version_1_upgrades_metadata(make_predictions: Make, uri: str) -> None:
    write_predictions(make_predictions(), uri)
    rewrite(uri, with_meta(schema_version=1, config={"seed": 1, "model": {"kind": "rcn"}}, decode="mean", views=9))
    meta = read_predictions(uri).meta
    assert meta["config"] == {"seed": 1, "model": {"name": "rcn"}}
    assert (meta["decoder"], meta["tta"]) == ("soft-argmax", "multiview")
    assert not {"decode", "views"} & meta.keys()
