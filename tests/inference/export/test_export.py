from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import open_dataset
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.evaluate import evaluate
from rcn_search.inference.config import InferenceConfig
from rcn_search.inference.export import export as module
from rcn_search.inference.export.compare import NUM_FACES
from rcn_search.inference.export.export import export_network
from rcn_search.inference.export.latency_table import measure_latencies
from rcn_search.inference.predictor import load
from rcn_search.training.checkpoint import read_checkpoint
from tests.inference.export.conftest import Exported
from tests.support.checkpoints import write_checkpoint, write_untrained


def test_export_gives_the_points_of_pytorch(exported: Exported, synthetic_uri: str) -> None:
    """In every number of faces, and also where the evaluation of a data set asks for them."""
    comparison = exported.export.comparison
    assert comparison.num_faces == NUM_FACES
    assert comparison.max_difference_px < 1e-3
    dataset = open_dataset(synthetic_uri)
    expected, actual = (evaluate(each, dataset, "val") for each in (exported.predictor, load(exported.uri)))
    np.testing.assert_allclose(actual.predictions.pred_crop_nk2, expected.predictions.pred_crop_nk2, atol=1e-3)
    np.testing.assert_array_equal(actual.predictions.pred_cell_nk2, expected.predictions.pred_cell_nk2)
    np.testing.assert_allclose(actual.predictions.confidence_nk, expected.predictions.confidence_nk, atol=1e-5)
    assert actual.predictions.meta["method"] == f"{expected.predictions.meta['method']}, {load(exported.uri).runtime}"
    assert actual.latency_ms > 0


def test_export_writes_down_where_it_comes_from_and_how_it_was_checked(exported: Exported) -> None:
    predictor = load(exported.uri)
    info = predictor.session.info  # type: ignore[attr-defined]
    assert info.checkpoint == exported.predictor.info
    assert info.checkpoint_sha256 == hashlib.sha256(Path(exported.checkpoint).read_bytes()).hexdigest()
    assert (info.license, info.inference) == ("Apache-2.0", {"decoder": "argmax", "tta": "none"})
    assert (info.max_difference_px, info.num_compared) == (exported.export.comparison.max_difference_px, NUM_FACES)
    assert (predictor.num_params, predictor.multiply_adds) == (
        exported.predictor.num_params,
        exported.predictor.multiply_adds,
    )


def test_export_that_moves_points_is_not_written(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Moved:
        """Points that are moved by a tenth of a pixel."""

        def __init__(self, session: Any) -> None:
            self.session, self.name = session, session.name

        def run(self, *inputs: Any) -> Any:
            outputs = self.session.run(*inputs)
            return outputs._replace(points_bk2=outputs.points_bk2 + np.float32([0.1, 0]))

    traced = exported.export.content
    target = "onnx" if traced.weights is None else "openvino"
    monkeypatch.setattr(module, "trace_onnx", lambda *_, **__: None)
    monkeypatch.setattr(module, "_content", lambda *_: traced)
    real = module.open_session
    monkeypatch.setattr(module, "open_session", lambda content: Moved(real(content)))
    out = tmp_path / f"a{module.SUFFIXES[target]}"
    with pytest.raises(RcnSearchError, match=r"moves a point by 0\.1000 px on 200 drawn faces; the limit is 0\.01 px"):
        export_network(exported.predictor, exported.checkpoint, str(out), target=target)
    assert not out.exists()
    export_network(exported.predictor, exported.checkpoint, str(out), target=target, max_difference_px=0.2)
    assert out.exists()


@pytest.mark.parametrize(
    ("options", "out", "message"),
    [
        ({}, "a.txt", r"a\.txt must end in \.onnx"),
        ({"tta": ("multiview",)}, "a.onnx", "nine windows of --tta multiview cannot"),
    ],
)
def test_export_refuses_what_it_cannot_write(
    small_checkpoint: str, options: dict[str, Any], out: str, message: str
) -> None:
    predictor = load(small_checkpoint, InferenceConfig(**options))
    with pytest.raises(RcnSearchError, match=message):
        export_network(predictor, small_checkpoint, out, target="onnx")


def test_export_of_a_joint_model_is_refused(tiny_config: TrainConfig, small_checkpoint: str, tmp_path: Path) -> None:
    """Its graph would have the number of faces of the trace."""
    model = {"name": "denoiser", "kernel_px": 5, "channels": 4, "num_corrupted_points": 2}
    denoiser = write_untrained(TrainConfig.model_validate(tiny_config.model_dump() | {"model": model}), tmp_path)
    joint = load(small_checkpoint, InferenceConfig(denoiser_uri=denoiser))
    with pytest.raises(RcnSearchError, match="denoiser of a joint model cannot be in an exported graph"):
        export_network(joint, small_checkpoint, "a.onnx", target="onnx")


def test_export_of_an_exported_file_is_refused(exported: Exported) -> None:
    with pytest.raises(RcnSearchError, match="is exported already"):
        export_network(load(exported.uri), exported.uri, "a.onnx", target="onnx")


def test_export_of_points_that_are_not_drawn_needs_a_data_set(tiny_config: TrainConfig, tmp_path: Path) -> None:
    checkpoint = write_untrained(tiny_config, tmp_path, "cofw29")
    with pytest.raises(RcnSearchError, match="'cofw29' points are not drawn: give --data"):
        export_network(load(checkpoint), checkpoint, "a.onnx", target="onnx")


def test_export_compares_on_validation_faces_and_takes_the_license_of_the_data(
    exported: Exported, synthetic_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(synthetic_uri)
    own = exported.predictor.info.model_copy(update={"data_fingerprint": dataset.manifest.fingerprint})
    monkeypatch.setattr(exported.predictor, "info", own)
    described = []
    monkeypatch.setattr(module, "trace_onnx", lambda *_, **__: None)
    monkeypatch.setattr(module, "_content", lambda _, info, *__: described.append(info) or exported.export.content)
    target = "onnx" if exported.export.content.weights is None else "openvino"
    out = str(tmp_path / f"a{module.SUFFIXES[target]}")
    export = export_network(exported.predictor, exported.checkpoint, out, target=target, dataset=dataset)
    assert export.comparison.faces == "24 faces of val"
    assert described[0].license == "trained on data of this license: Apache-2.0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"model": {"name": "tcdcn", "auxiliary": True}}, {}),
        ({"model": {"name": "sumnet", "branches": 4}, "input": {"color": True}}, {"tta": ("flip",)}),
        ({"model": {"name": "rcn", "branches": 6, "skip": True, "upsampling": "learned"}}, {"decoder": "median"}),
        (
            {
                "model": {"name": "rcn", "branches": 3},
                "loss": {"name": "l2"},
                "input": {"contrast_normalization": "none"},
            },
            {},
        ),
    ],
)
def test_export_of_every_kind_of_network(
    tiny_config: TrainConfig, tmp_path: Path, changes: dict[str, Any], options: dict[str, Any]
) -> None:
    document = {key: value for key, value in tiny_config.model_dump().items() if key not in changes} | changes
    checkpoint = write_untrained(TrainConfig.model_validate(document), tmp_path)
    if options.get("decoder") == "median":
        _sharpen(checkpoint)
    predictor = load(checkpoint, InferenceConfig(**options))
    export = export_network(predictor, checkpoint, str(tmp_path / "a.onnx"), target="onnx")
    assert export.comparison.max_difference_px < 0.01


def _sharpen(checkpoint: str) -> None:
    """Make the maps of an untrained network peaks: in flat ones two cells are medians up to rounding."""
    info, tensors = read_checkpoint(checkpoint)
    last = f"model.branches.{info.config.model.branches - 1}.rest.0.weight"
    write_checkpoint(checkpoint, info, tensors | {last: 1000 * tensors[last]})


def test_measure_latencies_has_each_runtime_thread_count_and_batch(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rcn_search.inference.export import exported_predictor, latency_table

    monkeypatch.setattr(exported_predictor, "NUM_RUNS", 1)
    monkeypatch.setattr(exported_predictor, "_NUM_BATCH_RUNS", 1)
    monkeypatch.setattr(latency_table, "num_cpus", lambda: 2)
    threads = torch.get_num_threads()
    measured = measure_latencies(exported.predictor, exported.export.content)
    runtimes = ("PyTorch", load(exported.uri).runtime)
    assert [row[:3] for row in measured] == [(r, t, b) for t in (1, 2) for r in runtimes for b in (1, 64)]
    assert all(row.time_ms > 0 for row in measured)
    assert torch.get_num_threads() == threads
