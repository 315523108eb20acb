from __future__ import annotations

from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from rcn_search.config.schema import Decoder, TrainConfig
from rcn_search.data.dataset import Dataset, Split, open_dataset
from rcn_search.data.importers.mtfl import MtflImporter
from rcn_search.data.importing import import_dataset
from rcn_search.data.shards import DatasetError
from rcn_search.data.synthetic import draw_face
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.predict_split import predict_split
from rcn_search.evaluation.predictions import Predictions, read_predictions, write_predictions
from rcn_search.evaluation.protocol import rcn2016, subpixel
from rcn_search.evaluation.score import score
from rcn_search.inference.config import InferenceConfig
from rcn_search.inference.predictor import Predictor
from rcn_search.keypoints import FIVE
from rcn_search.models.blocks import Network
from tests.support.checkpoints import checkpoint_info


class Oracle(Network):
    """Knows the points of all images, in the order in which it will see them, and draws a map of each."""

    def __init__(self, points_nk2: Tensor, sigma_px: float, shift_px: int = 0) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(1, 1, 1)
        self.points_nk2, self.sigma_px, self.shift_px, self.seen = points_nk2, sigma_px, shift_px, 0

    def forward(self, image_b1hw: Tensor) -> Tensor:
        size_px = image_b1hw.shape[-1]
        points_bk2 = self.points_nk2[self.seen : self.seen + len(image_b1hw)] * size_px
        self.seen += len(image_b1hw)
        if self.sigma_px == 0:  # the whole cell that holds the point
            points_bk2, sigma_px = points_bk2.floor() + 0.5, 0.1
        else:
            sigma_px = self.sigma_px
        points_bk2 = points_bk2 + torch.tensor([self.shift_px, 0])
        squared = (torch.arange(size_px) + 0.5 - points_bk2[..., None]).square()
        return -(squared[:, :, 1, :, None] + squared[:, :, 0, None, :]) / (2 * sigma_px**2)


def in_face_box(split: Split) -> Tensor:
    box_n4 = split.face_box_n4[:, None]
    return (split.points_nk2 - box_n4[..., :2]) / box_n4[..., 2:]


def of_size(config: TrainConfig, size_px: int) -> TrainConfig:
    return TrainConfig.model_validate(config.model_dump() | {"input": {"size_px": size_px}})


def predicted(
    config: TrainConfig,
    uri: str,
    split: str = "val",
    *,
    sigma_px: float = 0.0,
    shift_px: int = 0,
    decoder: Decoder = "argmax",
) -> Predictions:
    dataset = open_dataset(uri)
    oracle = Oracle(in_face_box(dataset.split(split)), sigma_px, shift_px)
    predictor = Predictor(oracle, checkpoint_info(config), InferenceConfig(decoder=decoder))
    return predict_split(predictor, dataset, split, method="oracle")


@pytest.mark.parametrize("decoder", get_args(Decoder))
def test_predict_split_true_cells_have_no_error_on_the_grid(
    tiny_config: TrainConfig, synthetic_uri: str, decoder: Decoder
) -> None:
    """A perfect classifier scores 0; against the points themselves it pays for the grid."""
    predictions = predicted(tiny_config, synthetic_uri, decoder=decoder)
    assert predictions.meta["decoder"] == decoder
    on_grid = score(predictions, rcn2016("synthetic", "val", "five"))
    assert (on_grid.error_pct, on_grid.num_images, on_grid.excluded) == (0.0, 24, {})
    exact = score(predictions, subpixel("synthetic", "val", "five"))
    assert 0.5 < exact.error_pct < 2.0
    assert predictions.confidence_nk.min() > 0.99


@pytest.mark.parametrize("size_px", [80, 40])
def test_predict_split_smooth_maps_have_little_subpixel_error(
    tiny_config: TrainConfig, synthetic_uri: str, size_px: int
) -> None:
    predictions = predicted(of_size(tiny_config, size_px), synthetic_uri, sigma_px=0.6)
    assert predictions.meta["grid_px"] == size_px
    assert score(predictions, subpixel("synthetic", "val", "five")).error_pct < 0.05
    assert 0.99 < predictions.confidence_nk.min() < predictions.confidence_nk.max() < 1


def test_predict_split_one_cell_off_is_one_cell_of_error(tiny_config: TrainConfig, synthetic_uri: str) -> None:
    split = open_dataset(synthetic_uri).split("val")
    eyes = in_face_box(split)[:, :2] * 80
    by_hand = 100 * (1 / (eyes[:, 0] - eyes[:, 1]).norm(dim=1)).mean()
    predictions = predicted(tiny_config, synthetic_uri, shift_px=1)
    assert score(predictions, rcn2016("synthetic", "val", "five")).error_pct == pytest.approx(float(by_hand), rel=1e-5)


def test_predict_split_metadata_names_data_and_run(tiny_config: TrainConfig, synthetic_uri: str) -> None:
    dataset = open_dataset(synthetic_uri)
    split = dataset.split("test")
    predictions = predicted(tiny_config, synthetic_uri, "test")
    meta = predictions.meta
    assert (meta["dataset"], meta["subset"], meta["split"]) == ("synthetic", "test", "test")
    assert (meta["run_id"], meta["method"], meta["epoch"]) == (tiny_config.run_id, "oracle", 2)
    assert meta["fingerprint"] == dataset.manifest.fingerprint
    assert TrainConfig.model_validate(meta["config"]) == tiny_config
    assert predictions.image_id.tolist() == split.image_id_n.tolist()
    np.testing.assert_array_equal(predictions.true_crop_nk2, split.points_nk2)
    assert predictions.attributes.keys() == split.attributes.keys()
    np.testing.assert_array_equal(predictions.attributes["pose"], split.attributes["pose"])


def test_prediction_file_round_trip(tiny_config: TrainConfig, synthetic_uri: str, tmp_path: Path) -> None:
    predictions = predicted(tiny_config, synthetic_uri, sigma_px=0.6)
    uri = str(tmp_path / "predictions.parquet")
    write_predictions(predictions, uri)
    back = read_predictions(uri)
    assert back.meta.items() >= predictions.meta.items()
    for field in fields(Predictions):
        if field.name == "attributes":
            assert back.attributes.keys() == predictions.attributes.keys()
            for name, values in predictions.attributes.items():
                np.testing.assert_array_equal(back.attributes[name], values)
        elif field.name != "meta":
            np.testing.assert_array_equal(getattr(back, field.name), getattr(predictions, field.name))
    for protocol in (rcn2016("synthetic", "val", "five"), subpixel("synthetic", "val", "five")):
        assert score(back, protocol) == score(predictions, protocol)


def test_predict_split_image_pixels_match_the_annotation(tiny_config: TrainConfig, tmp_path: Path) -> None:
    """A prediction on the spot is where the published annotation has it, in pictures larger than any crop."""
    annotated: list[np.ndarray] = []
    lines: list[list[str]] = [[], [], [], []]  # those of the test, and of three times as many to train on
    folder = tmp_path / "source"
    (folder / "AFLW").mkdir(parents=True)
    for index, (scale, left, top) in enumerate([(1.0, 90, 40), (2.5, 200, 10), (0.6, 7, 133), (1.7, 0, 250)]):
        face = draw_face(index, FIVE)
        canvas = Image.new("RGB", (700, 660), (90, 90, 90))
        side = round(160 * scale)
        canvas.paste(Image.fromarray(face.image).convert("RGB").resize((side, side)), (left, top))
        points = face.points * scale + (left, top)
        annotated.append(points)
        numbers = " ".join(f"{value:.4f}" for value in points.T.reshape(-1))
        for copy in range(4):
            name = f"AFLW/{copy}-{index}.png"
            canvas.save(folder / name)
            lines[copy].append(f"{name} {numbers} 1 1 1 3")
    (folder / "testing.txt").write_text("\n".join(lines[0]))
    (folder / "training.txt").write_text("\n".join(chain(*lines[1:])))
    uri = str(tmp_path / "data")
    import_dataset(MtflImporter(folder), uri)

    split = Dataset(uri).split("aflw")
    assert (split.box_n4[:, :2] > 0).any()
    assert len(np.unique(split.box_n4[:, 2])) == 4
    predictions = predicted(tiny_config, uri, "aflw", sigma_px=0.6)
    pixel = split.box_n4[:, 2] / 160 * split.face_box_n4[:, 2].numpy() / 80  # of the network, in the picture
    distance_nk = np.linalg.norm(predictions.pred_image_nk2 - np.stack(annotated), axis=2)
    assert (distance_nk < 0.05 * pixel[:, None]).all()
    np.testing.assert_allclose(predictions.true_image_nk2, np.stack(annotated), atol=2e-3)


def test_predict_split_reports_progress_to_the_end(tiny_config: TrainConfig, synthetic_uri: str) -> None:
    dataset = open_dataset(synthetic_uri)
    seen: list[tuple[int, int]] = []
    oracle = Oracle(in_face_box(dataset.split("train")), 0.0)
    predictor = Predictor(oracle, checkpoint_info(tiny_config))
    predict_split(predictor, dataset, "train", method="m", on_images=lambda *now: seen.append(now))
    assert seen == [(64, 96), (96, 96)]


def test_predict_split_rejects_other_keypoints(tiny_config: TrainConfig, synthetic_uri: str) -> None:
    dataset = open_dataset(synthetic_uri)
    oracle = Oracle(torch.zeros(24, 68, 2), 0.0)
    with pytest.raises(RcnSearchError, match=f"predicts 'ibug68' points, {synthetic_uri} has 'five' points"):
        predict_split(Predictor(oracle, checkpoint_info(tiny_config, "ibug68")), dataset, "val", method="m")
    with pytest.raises(DatasetError, match="has no split 'afw'; it has: train, val, test"):
        predict_split(Predictor(oracle, checkpoint_info(tiny_config)), dataset, "afw", method="m")
