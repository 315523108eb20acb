from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rcn_search.evaluation.predict import predict

from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import open_dataset
from rcn_search.data.importers.base import import_dataset
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.shards import DatasetError
from rcn_search.evaluation.evaluate import describe, evaluate
from rcn_search.evaluation.predictions import read_predictions
from rcn_search.evaluation.protocol import rcn2016, subpixel
from rcn_search.evaluation.score import score
from rcn_search.inference.config import InferenceConfig
from rcn_search.keypoints import FIVE
from rcn_search.models import build_model
from rcn_search.models.flip_average import Mirrored
from rcn_search.training.checkpoint import CheckpointError, CheckpointInfo, network_tensors, write_checkpoint


def info_of(config: TrainConfig, keypoints: str = "five") -> CheckpointInfo:
    return CheckpointInfo(
        kind="weights", config=config, keypoints=keypoints, data_fingerprint="f", epoch=2, val_error_pct=1.0, train_s=1
    )


def written(config: TrainConfig, folder: Path, keypoints: str = "five") -> str:
    """A checkpoint that was never trained."""
    uri = str(folder / "best.safetensors")
    network = build_model(config.model, num_points=5 if keypoints == "five" else 68, input_px=config.input.size_px)
    write_checkpoint(uri, info_of(config, keypoints), network_tensors(network))
    return uri


def changed(config: TrainConfig, **sections: Any) -> TrainConfig:
    return TrainConfig.model_validate(config.model_dump() | sections)


def test_scores_are_those_of_the_file(tiny_config: TrainConfig, synthetic_uri: str, tmp_path: Path) -> None:
    out = tmp_path / "predictions.parquet"
    found = evaluate(written(tiny_config, tmp_path), synthetic_uri, "test", predictions_uri=str(out), method="mine")
    protocols = [rcn2016("synthetic", "test", "five"), subpixel("synthetic", "test", "five")]
    assert [protocol for protocol, _ in found.scores] == protocols
    back = read_predictions(str(out))
    assert [result for _, result in found.scores] == [score(back, protocol) for protocol in protocols]
    assert found.predictions_sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    assert (found.predictions_uri, back.meta["method"]) == (str(out), "mine")
    assert found.num_params == sum(p.numel() for p in build_model(tiny_config.model, num_points=5).parameters())
    assert found.info == info_of(tiny_config)


def test_other_grids_have_no_score_on_the_papers(tiny_config: TrainConfig, synthetic_uri: str, tmp_path: Path) -> None:
    config = changed(tiny_config, input={"size_px": 40})
    found = evaluate(written(config, tmp_path), synthetic_uri, "val", predictions_uri=str(tmp_path / "p.parquet"))
    assert [protocol for protocol, _ in found.scores] == [subpixel("synthetic", "val", "five")]


def test_regressors_are_scored_too(tiny_config: TrainConfig, synthetic_uri: str, tmp_path: Path) -> None:
    config = changed(tiny_config, model={"name": "tcdcn", "auxiliary": True})
    found = evaluate(written(config, tmp_path), synthetic_uri, "val", predictions_uri=str(tmp_path / "p.parquet"))
    assert len(found.scores) == 2
    assert (found.predictions.confidence_nk == 1).all()
    predicted = (found.predictions.pred_crop_nk2 - found.predictions.face_box[:, None, :2]) * 80
    cells = np.floor(predicted / found.predictions.face_box[:, None, 2:]).clip(0, 79)
    assert (np.abs(cells - found.predictions.pred_cell_nk2) <= 1).all()


@pytest.mark.parametrize("kind", ["rcn", "tcdcn"])
def test_several_views_make_other_predictions_and_say_so(
    tiny_config: TrainConfig, synthetic_uri: str, tmp_path: Path, kind: str
) -> None:
    model = tiny_config.model.model_dump() if kind == "rcn" else {"name": kind}
    checkpoint = written(changed(tiny_config, model=model), tmp_path)
    one, nine = (
        evaluate(
            checkpoint,
            synthetic_uri,
            "val",
            predictions_uri=str(tmp_path / "p.parquet"),
            inference=InferenceConfig(tta=tta),
        )
        for tta in ((), ("multiview",))
    )
    assert not np.array_equal(one.predictions.pred_crop_nk2, nine.predictions.pred_crop_nk2)
    assert nine.multiply_adds == 9 * one.multiply_adds
    assert nine.predictions.meta["tta"] == "multiview"
    assert nine.predictions.meta["method"] == one.predictions.meta["method"] + ", 9 views"


def test_a_mirrored_look_is_that_of_both(tiny_config: TrainConfig, synthetic_uri: str, tmp_path: Path) -> None:
    """It makes other predictions, and says so."""
    checkpoint = written(tiny_config, tmp_path)
    one, both = (
        evaluate(
            checkpoint,
            synthetic_uri,
            "val",
            predictions_uri=str(tmp_path / "p.parquet"),
            inference=InferenceConfig(tta=tta),
        )
        for tta in ((), ("flip",))
    )
    assert not np.array_equal(one.predictions.confidence_nk, both.predictions.confidence_nk)
    assert both.predictions.meta["method"] == one.predictions.meta["method"] + ", flip averaged"
    assert (one.num_params, 2 * one.multiply_adds) == (both.num_params, both.multiply_adds)
    network = Mirrored(build_model(tiny_config.model, num_points=5), FIVE.flip)
    expected = predict(network, info_of(tiny_config), open_dataset(synthetic_uri), "val", method="m")
    assert np.array_equal(expected.pred_cell_nk2, both.predictions.pred_cell_nk2)


def test_a_denoiser_makes_a_joint_model(tiny_config: TrainConfig, synthetic_uri: str, tmp_path: Path) -> None:
    plain = written(tiny_config, tmp_path)
    (tmp_path / "denoiser").mkdir()
    config = changed(tiny_config, model={"name": "denoiser", "kernel_px": 5, "channels": 4, "num_corrupted_points": 2})
    denoiser = written(config, tmp_path / "denoiser")
    out = str(tmp_path / "p.parquet")
    joint = InferenceConfig(denoiser_uri=denoiser, tta=("flip",))
    found = evaluate(plain, synthetic_uri, "val", predictions_uri=out, inference=joint)
    assert found.predictions.meta["method"].endswith(", flip averaged, denoised")
    assert found.predictions.meta["denoiser"] == config.run_id
    parts = [build_model(each.model, num_points=5) for each in (tiny_config, config)]
    assert found.num_params == sum(p.numel() for part in parts for p in part.parameters())
    with pytest.raises(ValueError, match="is a denoiser, which sees no image"):
        evaluate(denoiser, synthetic_uri, "val", predictions_uri=out)
    with pytest.raises(ValueError, match="is no denoiser but a rcn"):
        evaluate(plain, synthetic_uri, "val", predictions_uri=out, inference=InferenceConfig(denoiser_uri=plain))
    regressor = written(changed(tiny_config, model={"name": "tcdcn"}), tmp_path)
    with pytest.raises(ValueError, match="predicts no maps"):
        evaluate(regressor, synthetic_uri, "val", predictions_uri=out, inference=joint)


def test_68_points_are_scored_as_49_too(tiny_config: TrainConfig, tmp_path: Path) -> None:
    uri = str(tmp_path / "data")
    import_dataset(SyntheticImporter(schema="ibug68", num_train=1, num_val=2, num_test=1), uri)
    found = evaluate(written(tiny_config, tmp_path, "ibug68"), uri, "val", predictions_uri=str(tmp_path / "p.parquet"))
    assert [protocol.name for protocol, _ in found.scores] == ["rcn2016", "rcn2016-49", "subpixel"]


def test_what_does_not_fit_leaves_no_file(tiny_config: TrainConfig, synthetic_uri: str, tmp_path: Path) -> None:
    checkpoint = written(tiny_config, tmp_path)
    out = str(tmp_path / "predictions.parquet")
    with pytest.raises(DatasetError, match="has no split 'aflw'; it has: train, val, test"):
        evaluate(checkpoint, synthetic_uri, "aflw", predictions_uri=out)
    with pytest.raises(DatasetError, match="no data set at"):
        evaluate(checkpoint, str(tmp_path), "val", predictions_uri=out)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        evaluate(f"{checkpoint}.old", synthetic_uri, "val", predictions_uri=out)
    with pytest.raises(ValueError, match="the checkpoint predicts 'ibug68' points"):
        evaluate(written(tiny_config, tmp_path, "ibug68"), synthetic_uri, "val", predictions_uri=out)
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]


@pytest.mark.parametrize(
    ("sections", "name"),
    [
        ({"model": {"name": "rcn"}}, "RCN 6 branches, occlusion, fast recipe, 2 epochs"),
        ({"model": {"branches": 5, "skip": True, "channels": 24}}, "RCN 5 branches × 24 channels, skip, occlusion, "),
        (
            {
                "model": {"name": "sumnet"},
                "augment": {"occluder": {"min_px": 0, "max_px": 0}},
                "schedule": {"epochs": 300},
            },
            "SumNet 6 branches, fast recipe, 300 epochs",
        ),
        ({"model": {"name": "tcdcn"}, "recipe": "paper"}, "TCDCN, occlusion, paper recipe, 2 epochs"),
        ({"model": {"name": "tcdcn", "auxiliary": True}}, "TCDCN with attributes, occlusion, fast recipe"),
        (
            {"model": {"branches": 4, "mask": "1001", "layer_preset": "300w"}},
            "RCN 4 branches, 300w layers, mask 1001, occ",
        ),
        ({"model": {"name": "denoiser"}}, "denoiser 45×45, occlusion"),
    ],
)
def test_a_name_says_what_sets_a_method_apart(tiny_config: TrainConfig, sections: dict[str, Any], name: str) -> None:
    info = info_of(changed(tiny_config, **sections))
    assert describe(info).startswith(name)
    has_maps = info.config.model.name != "tcdcn"
    assert describe(info, InferenceConfig(decoder="median")).endswith(", median decoding") == has_maps
