from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import Dataset, open_dataset
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import import_dataset
from rcn_search.data.shards import DatasetError
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.evaluate import evaluate, method_name
from rcn_search.evaluation.predictions import read_predictions
from rcn_search.evaluation.protocol import rcn2016, subpixel
from rcn_search.evaluation.score import score
from rcn_search.inference.config import InferenceConfig
from rcn_search.inference.predictor import load
from tests.support.checkpoints import checkpoint_info, write_untrained


def with_sections(config: TrainConfig, **sections: Any) -> TrainConfig:
    return TrainConfig.model_validate(config.model_dump() | sections)


@pytest.fixture
def dataset(synthetic_uri: str) -> Dataset:
    return open_dataset(synthetic_uri)


def test_evaluate_scores_the_file_that_it_writes(tiny_config: TrainConfig, dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "predictions.parquet"
    predictor = load(write_untrained(tiny_config, tmp_path))
    evaluation = evaluate(predictor, dataset, "test", predictions_uri=str(out), method="mine")
    protocols = [rcn2016("synthetic", "test", "five"), subpixel("synthetic", "test", "five")]
    assert [protocol for protocol, _ in evaluation.scores] == protocols
    predictions = read_predictions(str(out))
    assert [result for _, result in evaluation.scores] == [score(predictions, protocol) for protocol in protocols]
    assert evaluation.predictions_sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    assert (evaluation.predictions_uri, predictions.meta["method"]) == (str(out), "mine")
    assert evaluation.latency_ms > 0


def test_evaluate_without_uri_writes_no_file(tiny_config: TrainConfig, dataset: Dataset, tmp_path: Path) -> None:
    evaluation = evaluate(load(write_untrained(tiny_config, tmp_path)), dataset, "val")
    assert evaluation.predictions_uri is None
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]


def test_evaluate_another_grid_has_no_rcn2016_score(tiny_config: TrainConfig, dataset: Dataset, tmp_path: Path) -> None:
    config = with_sections(tiny_config, input={"size_px": 40})
    evaluation = evaluate(load(write_untrained(config, tmp_path)), dataset, "val")
    assert [protocol for protocol, _ in evaluation.scores] == [subpixel("synthetic", "val", "five")]


def test_evaluate_68_points_scores_49_too(tiny_config: TrainConfig, tmp_path: Path) -> None:
    uri = str(tmp_path / "data")
    import_dataset(SyntheticImporter(schema="ibug68", num_train=1, num_val=2, num_test=1), uri)
    evaluation = evaluate(load(write_untrained(tiny_config, tmp_path, "ibug68")), open_dataset(uri), "val")
    assert [protocol.name for protocol, _ in evaluation.scores] == ["rcn2016", "rcn2016-49", "subpixel"]


def test_evaluate_mismatch_writes_no_file(tiny_config: TrainConfig, dataset: Dataset, tmp_path: Path) -> None:
    predictor, out = load(write_untrained(tiny_config, tmp_path)), str(tmp_path / "predictions.parquet")
    with pytest.raises(DatasetError, match="has no split 'aflw'; it has: train, val, test"):
        evaluate(predictor, dataset, "aflw", predictions_uri=out)
    with pytest.raises(RcnSearchError, match="the checkpoint predicts 'ibug68' points"):
        evaluate(load(write_untrained(tiny_config, tmp_path, "ibug68")), dataset, "val", predictions_uri=out)
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
        ({"model": {"branches": 4, "mask": "1001", "layer_preset": "300w"}}, "RCN 4 branches, 300w layers, mask 1001,"),
        ({"data": {"uri": "x", "balance_by": "pose"}}, "RCN 3 branches × 8 channels, occlusion, balanced by pose, "),
        ({"model": {"name": "denoiser"}}, "denoiser 45×45, occlusion"),
        (
            {"data": {"uri": "x", "num_train": 1500}, "schedule": {"epochs": 1}},
            "RCN 3 branches × 8 channels, occlusion, 1,500 faces, fast recipe, 1 epoch",
        ),
        ({"model": {"name": "timm", "head": "simcc"}}, "resnet18 simcc × 256 channels, "),
        ({"model": {"name": "timm", "head": "coordinates"}}, "resnet18 coordinates, "),
        ({"model": {"name": "timm", "backbone": "hrnet_w18_small", "feature_stride": 4}}, "hrnet_w18_small heatmap, "),
    ],
)
def test_method_name_says_what_differs(tiny_config: TrainConfig, sections: dict[str, Any], name: str) -> None:
    info = checkpoint_info(with_sections(tiny_config, **sections))
    assert method_name(info).startswith(name)
    model = info.config.model
    has_maps = model.name != "tcdcn" and getattr(model, "head", "") != "coordinates"
    assert method_name(info, InferenceConfig(decoder="median")).endswith(", median decoding") == has_maps
    augmented = InferenceConfig(tta=("multiview", "flip"), denoiser_uri="denoiser.safetensors")
    assert method_name(info, augmented).endswith(", flip averaged, 9 views, denoised")
