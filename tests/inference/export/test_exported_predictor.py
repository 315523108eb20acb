from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from rcn_search.errors import RcnSearchError
from rcn_search.inference.config import InferenceConfig
from rcn_search.inference.export.export import _describe
from rcn_search.inference.export.exported_info import METADATA_KEY
from rcn_search.inference.export.runtimes import weights_uri
from rcn_search.inference.predictor import Predictor, load
from rcn_search.training.radius_table import PointRadii, RadiusTable
from tests.inference.export.conftest import Exported
from tests.support.photographs import astronaut


def test_exported_predictor_finds_and_predicts_faces(exported: Exported) -> None:
    expected, actual = (each.predict(astronaut()) for each in (exported.predictor, load(exported.uri)))
    np.testing.assert_allclose(actual.points, expected.points, atol=1e-2)
    np.testing.assert_array_equal(actual.boxes, expected.boxes)


def test_exported_predictor_serves_threads(exported: Exported) -> None:
    predictor, generator = load(exported.uri), np.random.default_rng(0)
    crops = [torch.from_numpy(generator.integers(0, 256, (n, 160, 160), dtype=np.uint8)) for n in (1, 3, 2, 5)]
    boxes = [torch.tensor([[20.0, 20, 120, 120]]).repeat(len(crop_b), 1) for crop_b in crops]
    alone = [predictor.predict_crops(*inputs).points_bk2.numpy() for inputs in zip(crops, boxes, strict=True)]
    results: dict[int, Any] = {}

    def run(index: int) -> None:
        results[index] = predictor.predict_crops(crops[index], boxes[index]).points_bk2.numpy()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(crops))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, points in enumerate(alone):
        np.testing.assert_array_equal(results[index], points)


def test_exported_predictor_refuses_crops_of_other_shapes(exported: Exported) -> None:
    predictor, box = load(exported.uri), torch.tensor([[0.0, 0, 9, 9]])
    with pytest.raises(RcnSearchError, match=r"takes crops of shape \(160, 160\), not \(80, 80\)"):
        predictor.predict_crops(torch.zeros(1, 80, 80, dtype=torch.uint8), box)


def test_exported_predictor_takes_color_crops_as_pytorch_does(exported: Exported) -> None:
    color = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), dtype=np.uint8))
    boxes = torch.tensor([[20.0, 20, 120, 120]]).repeat(2, 1)
    expected, actual = (each.predict_crops(color, boxes) for each in (exported.predictor, load(exported.uri)))
    np.testing.assert_allclose(actual.points_bk2, expected.points_bk2, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "runs on the CPU, not on 'cuda'"),
        ({"decoder": "median"}, "the decoder of .* is argmax, and part of the file"),
        ({"tta": ("flip",)}, "the tta of .* is none, and part of the file"),
        ({"denoiser_uri": "d.safetensors"}, "no denoiser can be added"),
    ],
)
def test_load_exported_refuses_options_that_are_in_the_graph(
    exported: Exported, options: dict[str, Any], message: str
) -> None:
    assert load(exported.uri, InferenceConfig(decoder="argmax", device="cpu")).num_params
    with pytest.raises(RcnSearchError, match=message):
        load(exported.uri, InferenceConfig(**options))


def test_load_exported_damaged_or_missing_is_refused(exported: Exported, tmp_path: Path) -> None:
    suffix = Path(exported.uri).suffix
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"no graph")
    if suffix == ".xml":
        with pytest.raises(RcnSearchError, match=r"no exported network at .*a\.bin"):
            load(str(path))
        Path(weights_uri(str(path))).write_bytes(b"")
    with pytest.raises(RcnSearchError, match=r"a\.(onnx|xml) is not a readable (ONNX|OpenVINO) file"):
        load(str(path))
    with pytest.raises(RcnSearchError, match="no exported network at"):
        load(f"memory://nowhere{suffix}")


def onnx_of(**metadata: str) -> bytes:
    """A graph that adds a number to itself, as somebody else may have written it."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["a", "a"], ["b"])],
        "graph",
        [value("a", onnx.TensorProto.FLOAT, [1])],
        [value("b", onnx.TensorProto.FLOAT, [1])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.helper.set_model_props(model, metadata)
    content: bytes = model.SerializeToString()
    return content


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, r"theirs\.onnx was not exported by rcn-search"),
        ({METADATA_KEY: '{"version": 9}'}, "it is of version 9; this rcn-search reads version 1"),
        ({METADATA_KEY: "[]"}, "cannot read its metadata"),
        ({METADATA_KEY: '{"version": 1}'}, "cannot read its metadata"),
    ],
)
def test_load_exported_file_of_somebody_else_is_refused(tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    (tmp_path / "theirs.onnx").write_bytes(onnx_of(**metadata))
    with pytest.raises(RcnSearchError, match=message):
        load(str(tmp_path / "theirs.onnx"))


def test_exported_file_carries_the_radius_table_of_its_way_of_predicting(
    exported: Exported, synthetic_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = PointRadii(edges=(0.1,), radii=(0.2, 0.1))
    fields = {"data_fingerprint": "f", "split": "val", "num_images": 9, "points": (point,) * 5}
    ours = RadiusTable(made_with=exported.predictor.made_with, **fields)
    other = RadiusTable(made_with={"decoder": "median", "tta": "none"}, **fields)
    info = exported.predictor.info.model_copy(update={"radius_tables": (other, ours)})
    described = _describe(Predictor(exported.predictor.network, info), exported.checkpoint, "Apache-2.0")
    assert described.checkpoint.radius_tables == (ours,)
    loaded = load(exported.uri)
    monkeypatch.setattr(loaded, "info", described.checkpoint)
    image = np.random.default_rng(0).integers(0, 255, (160, 160), np.uint8)
    radius_nk = loaded.predict(image, [[0, 0, 160, 160]], face_boxes=[[40, 40, 80, 80]]).radius
    assert set(radius_nk.ravel().tolist()) <= {16.0, 8.0}
