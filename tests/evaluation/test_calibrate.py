from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import Dataset, open_dataset
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.calibrate import (
    Calibration,
    calibrate,
    check_calibration,
    cross_validated_coverage,
    distance_shares,
)
from rcn_search.evaluation.evaluate import evaluate
from rcn_search.evaluation.predict_split import predict_split
from rcn_search.inference.config import InferenceConfig
from rcn_search.inference.predictor import load
from rcn_search.training.checkpoint import CheckpointError, read_checkpoint
from tests.conftest import CommandLine
from tests.support.checkpoints import write_untrained


@pytest.fixture
def dataset(synthetic_uri: str) -> Dataset:
    return open_dataset(synthetic_uri)


def calibrated(uri: str, dataset: Dataset, inference: InferenceConfig | None = None) -> Calibration:
    predictor = load(uri, inference or InferenceConfig())
    return calibrate(predictor, uri, predict_split(predictor, dataset, "val", method="m"))


def test_calibrate_changes_the_header_alone(tiny_config: TrainConfig, dataset: Dataset, tmp_path: Path) -> None:
    uri = write_untrained(tiny_config, tmp_path)
    before, weights = read_checkpoint(uri).info, load_file(uri)
    table = calibrated(uri, dataset).table
    assert read_checkpoint(uri).info == before.model_copy(update={"radius_tables": (table,)})
    for name, tensor in load_file(uri).items():
        np.testing.assert_array_equal(tensor, weights[name])
    assert (table.made_with, table.num_images) == ({"decoder": "argmax", "tta": "none"}, 24)


def test_calibrate_keeps_one_table_for_each_way_of_predicting(
    tiny_config: TrainConfig, dataset: Dataset, tmp_path: Path
) -> None:
    uri = write_untrained(tiny_config, tmp_path)
    median = InferenceConfig(decoder="median", tta=("flip",))
    for inference in (None, median, None):
        calibrated(uri, dataset, inference)
    kept = [table.made_with["decoder"] for table in read_checkpoint(uri).info.radius_tables]
    assert kept == ["median", "argmax"]
    assert load(uri, median).radius_table is not None
    assert load(uri, InferenceConfig(decoder="median")).radius_table is None


def test_predict_radius_is_that_of_the_table_in_image_pixels(
    tiny_config: TrainConfig, dataset: Dataset, tmp_path: Path
) -> None:
    uri = write_untrained(tiny_config, tmp_path)
    table = calibrated(uri, dataset).table
    predictor = load(uri)
    image = np.random.default_rng(0).integers(0, 255, (400, 400), np.uint8)
    faces = predictor.predict(image, [[10, 20, 320, 320], [0, 0, 160, 160]], face_boxes=[[30, 30, 80, 80]] * 2)
    shares = table.look_up(faces.confidence)
    np.testing.assert_allclose(faces.radius, shares * [[160], [80]], rtol=1e-6)  # the face box in image pixels
    assert np.isnan(load(uri, InferenceConfig(decoder="median")).predict(image, [[0, 0, 99, 99]]).radius).all()


def test_evaluate_scores_radii_on_other_images_only(tiny_config: TrainConfig, dataset: Dataset, tmp_path: Path) -> None:
    uri = write_untrained(tiny_config, tmp_path)
    calibrated(uri, dataset)
    predictor = load(uri)
    test, val = (evaluate(predictor, dataset, split) for split in ("test", "val"))
    distance_nk = distance_shares(test.predictions)
    inside_nk = distance_nk <= predictor.radius_table.look_up(test.predictions.confidence_nk)
    seen_nk = np.where(test.predictions.visible, inside_nk, np.nan)
    expected = [inside_nk.mean(), np.nanmean(seen_nk, axis=1).mean()]
    for (protocol, score), share in zip(test.scores, expected, strict=True):  # rcn2016 counts hidden points, too
        assert score.coverage.pct == pytest.approx(100 * share), protocol.name
        assert score.coverage.low_pct < score.coverage.pct < score.coverage.high_pct
    assert val.predictions.radius_nk is not None
    assert [score.coverage for _, score in val.scores] == [None, None]


def test_cross_validated_coverage_leaves_each_fold_out(
    tiny_config: TrainConfig, dataset: Dataset, tmp_path: Path
) -> None:
    """Distances that are all equal are held by radii of any fold; those of one group alone are not by the others'."""
    uri = write_untrained(tiny_config, tmp_path)
    predictor = load(uri)
    predictions = predict_split(predictor, dataset, "val", method="m")
    table = calibrate(predictor, uri, predictions).table
    equal = np.ones((24, 5))
    assert cross_validated_coverage(table, equal, predictions).pct == 100
    outlier = equal.copy()
    outlier[0] = 2.0
    assert cross_validated_coverage(table, outlier, predictions).pct == pytest.approx(100 * 23 / 24)


def test_check_calibration_refuses_other_images_and_files(
    tiny_config: TrainConfig, dataset: Dataset, tmp_path: Path
) -> None:
    uri = write_untrained(tiny_config, tmp_path)
    predictor, manifest = load(uri), dataset.manifest
    assert check_calibration(str(tmp_path), predictor, manifest, "val") == uri
    with pytest.raises(RcnSearchError, match="'test' is a test split"):
        check_calibration(uri, predictor, manifest, "test")
    with pytest.raises(RcnSearchError, match="calibrate the checkpoint, then export it again"):
        check_calibration("network.onnx", predictor, manifest, "val")
    predictor.info = predictor.info.model_copy(update={"data_fingerprint": manifest.fingerprint})
    for split in ("train", "all"):
        whole = manifest.model_copy(update={"unions": {"all": ["train", "val"]}})
        with pytest.raises(RcnSearchError, match="images of the training are too small"):
            check_calibration(uri, predictor, whole, split)


def test_calibrate_refuses_a_checkpoint_that_was_replaced(
    tiny_config: TrainConfig, dataset: Dataset, tmp_path: Path
) -> None:
    uri = write_untrained(tiny_config, tmp_path)
    predictor = load(uri)
    predictions = predict_split(predictor, dataset, "val", method="m")
    predictor.info = predictor.info.model_copy(update={"epoch": 1})
    content = Path(uri).read_bytes()
    with pytest.raises(CheckpointError, match="was replaced while its images were predicted"):
        calibrate(predictor, uri, predictions)
    assert Path(uri).read_bytes() == content


def test_evaluate_command_calibrates_and_predict_lists_radii(
    cli: CommandLine, tiny_config: TrainConfig, synthetic_uri: str, tmp_path: Path
) -> None:
    uri = write_untrained(tiny_config, tmp_path)
    line = ("evaluate", uri, "--data", synthetic_uri, "--predictions", tmp_path / "p.parquet")
    text = cli.run(*line, "--calibrate")
    assert "radius of 90% from 24 images of val" in text
    assert "in radius" not in text  # of the images that it was fitted to
    assert "in radius %" in cli.run(*line, "--split", "test", "--leaderboard", tmp_path / "board", "--submit")
    assert "coverage_pct" in cli.run("leaderboard", "--leaderboard", tmp_path / "board", "--format", "csv")
