from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import Dataset, open_dataset
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.evaluate import evaluate
from rcn_search.evaluation.predictions import Predictions
from rcn_search.inference.config import InferenceConfig
from rcn_search.inference.predictor import Predictor, load
from rcn_search.keypoints import FIVE
from rcn_search.models import build_model
from rcn_search.models.composite import FlipAverage
from rcn_search.training.checkpoint import CheckpointError
from tests.support.checkpoints import checkpoint_info, write_untrained


@pytest.fixture
def predictor(tiny_config: TrainConfig, tmp_path: Path) -> Predictor:
    return load(write_untrained(tiny_config, tmp_path))


@pytest.fixture
def dataset(synthetic_uri: str) -> Dataset:
    return open_dataset(synthetic_uri)


def photos_of(predictions: Predictions, folder: Path) -> list[Path]:
    """The photographs of the faces, in the order of the predictions; a face's name is that of its photograph."""
    return [folder / str(name).split("#")[0] for name in predictions.image_id]


@pytest.mark.parametrize("tta", [(), ("flip", "multiview")])
def test_predict_original_images_equals_evaluate(
    tiny_config: TrainConfig, mtfl_folder: Path, mtfl_uri: str, tmp_path: Path, tta: Any
) -> None:
    """To the last bit: photograph and boxes of the data set lead to the points of the prediction file."""
    predictor = load(write_untrained(tiny_config, tmp_path), InferenceConfig(decoder="median", tta=tta))
    expected = evaluate(predictor, open_dataset(mtfl_uri), "aflw").predictions
    faces = predictor.predict(photos_of(expected, mtfl_folder), expected.box, face_boxes=expected.face_box)
    np.testing.assert_array_equal(faces.points, expected.pred_image_nk2)
    np.testing.assert_array_equal(faces.confidence, expected.confidence_nk)
    np.testing.assert_array_equal(faces.boxes, expected.box)


def test_predict_takes_every_form_of_an_image(
    predictor: Predictor, mtfl_folder: Path, mtfl_uri: str, tmp_path: Path
) -> None:
    expected = evaluate(predictor, open_dataset(mtfl_uri), "aflw").predictions
    path, boxes = photos_of(expected, mtfl_folder)[0], expected.box[:1]
    reference = predictor.predict(path, boxes)
    image = Image.open(path).convert("RGB")
    gray = image.convert("L")
    assert not np.array_equal(predictor.predict(gray, boxes).points, np.zeros((1, 5, 2)))
    for form in (str(path), image, np.asarray(image), [path], (image,)):
        np.testing.assert_array_equal(predictor.predict(form, boxes).points, reference.points)
    np.testing.assert_array_equal(
        predictor.predict(np.asarray(gray), boxes).points, predictor.predict(gray, boxes).points
    )


def test_predict_one_image_with_several_boxes(predictor: Predictor, dataset: Dataset) -> None:
    image = dataset.split("val").images_at(torch.arange(1))[0].numpy()
    boxes = [[0, 0, 160, 160], [10, 20, 100, 100], [-30, -30, 220, 220]]
    faces = predictor.predict(image, boxes)
    assert faces.points.shape == (3, 5, 2)
    assert faces.confidence.shape == (3, 5)
    for row, box in enumerate(boxes):
        np.testing.assert_allclose(predictor.predict(image, [box]).points[0], faces.points[row], atol=1e-3)


def test_predict_without_detector_takes_each_image_as_a_crop(predictor: Predictor, dataset: Dataset) -> None:
    crops = dataset.split("val").images_at(torch.arange(3)).numpy()
    faces = predictor.predict(list(crops), detector="none")
    assert faces.image_index.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(faces.boxes, [[0, 0, 160, 160]] * 3)
    np.testing.assert_array_equal(faces.points, predictor.predict(list(crops), faces.boxes).points)


def test_predict_many_faces_in_batches(predictor: Predictor, dataset: Dataset) -> None:
    crops = dataset.split("train").images_at(torch.arange(70)).numpy()
    faces = predictor.predict(list(crops), detector="none")
    assert faces.points.shape == (70, 5, 2)
    np.testing.assert_allclose(predictor.predict(crops[69], detector="none").points[0], faces.points[69], atol=1e-3)


def test_predict_no_image_gives_no_face(predictor: Predictor) -> None:
    assert predictor.predict([]).points.shape == (0, 5, 2)
    assert predictor.predict(np.zeros((9, 9), np.uint8), np.zeros((0, 4))).points.shape == (0, 5, 2)


def test_predict_box_is_rounded_and_widened_to_a_square(predictor: Predictor) -> None:
    faces = predictor.predict(np.zeros((60, 200), np.uint8), [[10.4, 20.2, 100, 39.9]])
    np.testing.assert_array_equal(faces.boxes, [[10, -10, 100, 100]])


def test_predict_file_is_turned_by_its_exif_orientation(predictor: Predictor, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    upright, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = 3  # upside down
    upright.rotate(180).save(tmp_path / "a.png", exif=exif)
    expected = predictor.predict(upright, [[5, 5, 30, 30]])
    np.testing.assert_array_equal(predictor.predict(tmp_path / "a.png", [[5, 5, 30, 30]]).points, expected.points)


def test_predict_16_bits_are_reduced_to_8(predictor: Predictor, tmp_path: Path) -> None:
    """Pillow's own conversion would clip all but the darkest pixels to white."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    deep = Image.fromarray(pixels.astype(np.uint16) * 256 + 99)
    deep.save(tmp_path / "deep.png")
    expected = predictor.predict(pixels, detector="none").points
    for image in (deep, tmp_path / "deep.png"):
        np.testing.assert_array_equal(predictor.predict(image, detector="none").points, expected)


def test_predict_color_network_reads_color_and_gray(tiny_config: TrainConfig, tmp_path: Path) -> None:
    config = TrainConfig.model_validate(tiny_config.model_dump() | {"input": {"color": True}})
    predictor = load(write_untrained(config, tmp_path))
    image = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    color, gray = predictor.predict(image, detector="none"), predictor.predict(image[..., 0], detector="none")
    assert not np.array_equal(color.points, gray.points)


@pytest.mark.parametrize(
    ("image", "boxes", "message"),
    [
        (np.zeros((5, 5), np.float32), None, r"shape \(5, 5\) and type float32"),
        (np.zeros((5, 5, 4), np.uint8), None, r"shape \(5, 5, 4\)"),
        (np.zeros((0, 5), np.uint8), None, r"shape \(0, 5\)"),
        (Image.new("F", (5, 5)), None, "32 bits per pixel"),
        (Image.new("RGB", (0, 5)), None, "0x5 pixels shows nothing"),
        ("nowhere.png", None, "nowhere.png: image is missing"),
        (np.zeros((5, 5), np.uint8), [[0, 0, 0, 5]], "box 0 is"),
        (np.zeros((5, 5), np.uint8), [[0, 0, float("nan"), 5]], "box 0 is"),
        (np.zeros((5, 5), np.uint8), [[0, 0, 5]], "box 0 is"),
        (np.zeros((5, 5), np.uint8), [[0, 0, 9, 9], [5, 0, 9, 9]], "box 1 is .* lies outside of the 5x5 image"),
        (np.zeros((5, 5), np.uint8), [[-9, 0, 9, 9]], "lies outside"),
        (np.zeros((5, 5), np.uint8), [[0, 0, 1e5, 1e5]], "over the limit of 64,000,000 pixels"),
        ([np.zeros((5, 5), np.uint8)] * 2, [[0, 0, 5, 5]], "2 images and 1 boxes"),
    ],
)
def test_predict_refuses_bad_input(predictor: Predictor, image: Any, boxes: Any, message: str) -> None:
    with pytest.raises(RcnSearchError, match=message):
        predictor.predict(image, boxes)


def test_predict_refuses_another_number_of_face_boxes(predictor: Predictor) -> None:
    with pytest.raises(RcnSearchError, match="1 faces need"):
        predictor.predict(np.zeros((5, 5), np.uint8), face_boxes=[[0, 0, 9, 9]] * 2, detector="none")


@pytest.mark.parametrize("name", ["rcn", "tcdcn"])
def test_multiview_changes_predictions_and_is_recorded(
    tiny_config: TrainConfig, dataset: Dataset, tmp_path: Path, name: str
) -> None:
    model = tiny_config.model.model_dump() if name == "rcn" else {"name": name}
    checkpoint = write_untrained(TrainConfig.model_validate(tiny_config.model_dump() | {"model": model}), tmp_path)
    one, nine = (load(checkpoint, InferenceConfig(tta=tta)) for tta in ((), ("multiview",)))
    assert nine.multiply_adds == 9 * one.multiply_adds
    predictions = [evaluate(predictor, dataset, "val").predictions for predictor in (one, nine)]
    assert not np.array_equal(predictions[0].pred_crop_nk2, predictions[1].pred_crop_nk2)
    assert [each.meta["tta"] for each in predictions] == ["none", "multiview"]
    assert predictions[1].meta["method"] == predictions[0].meta["method"] + ", 9 views"


def test_flip_averages_image_and_mirror_image(tiny_config: TrainConfig, dataset: Dataset, tmp_path: Path) -> None:
    checkpoint = write_untrained(tiny_config, tmp_path)
    one, both = (load(checkpoint, InferenceConfig(tta=tta)) for tta in ((), ("flip",)))
    assert (one.num_params, 2 * one.multiply_adds) == (both.num_params, both.multiply_adds)
    flipped = evaluate(both, dataset, "val").predictions
    assert flipped.meta["tta"] == "flip"
    assert not np.array_equal(evaluate(one, dataset, "val").predictions.confidence_nk, flipped.confidence_nk)
    wrapped = Predictor(
        FlipAverage(build_model(tiny_config.model, num_points=5), FIVE.flip), checkpoint_info(tiny_config)
    )
    assert np.array_equal(evaluate(wrapped, dataset, "val").predictions.pred_cell_nk2, flipped.pred_cell_nk2)


def test_regressor_has_confidence_one(tiny_config: TrainConfig, dataset: Dataset, tmp_path: Path) -> None:
    document = tiny_config.model_dump() | {"model": {"name": "tcdcn", "auxiliary": True}}
    checkpoint = write_untrained(TrainConfig.model_validate(document), tmp_path)
    evaluation = evaluate(load(checkpoint), dataset, "val")
    predictions = evaluation.predictions
    assert len(evaluation.scores) == 2
    assert (predictions.confidence_nk == 1).all()
    predicted = (predictions.pred_crop_nk2 - predictions.face_box[:, None, :2]) * 80
    cells = np.floor(predicted / predictions.face_box[:, None, 2:]).clip(0, 79)
    assert (np.abs(cells - predictions.pred_cell_nk2) <= 1).all()


def test_load_denoiser_makes_a_joint_model(tiny_config: TrainConfig, dataset: Dataset, tmp_path: Path) -> None:
    plain = write_untrained(tiny_config, tmp_path)
    model = {"name": "denoiser", "kernel_px": 5, "channels": 4, "num_corrupted_points": 2}
    config = TrainConfig.model_validate(tiny_config.model_dump() | {"model": model})
    denoiser = write_untrained(config, tmp_path / "denoiser")
    joint = InferenceConfig(denoiser_uri=denoiser, tta=("flip",))
    predictor = load(plain, joint)
    predictions = evaluate(predictor, dataset, "val").predictions
    assert predictions.meta["method"].endswith(", flip averaged, denoised")
    assert predictions.meta["denoiser"] == config.run_id
    parts = [build_model(part.model, num_points=5) for part in (tiny_config, config)]
    assert predictor.num_params == sum(p.numel() for part in parts for p in part.parameters())
    with pytest.raises(RcnSearchError, match="is a denoiser, which takes no image"):
        load(denoiser)
    with pytest.raises(RcnSearchError, match="is not a denoiser but a network of type rcn"):
        load(plain, InferenceConfig(denoiser_uri=plain))
    regressor = TrainConfig.model_validate(tiny_config.model_dump() | {"model": {"name": "tcdcn"}})
    with pytest.raises(RcnSearchError, match="predicts coordinates"):
        load(write_untrained(regressor, tmp_path / "regressor"), joint)


def test_load_without_checkpoint_fails(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*; the models that come with rcn-search: "):
        load(str(tmp_path / "best.safetensors"))
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load("memory://nowhere/best.safetensors")


def test_load_unknown_device_fails(tiny_config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(RcnSearchError, match="device 'gpu' cannot be used"):
        load(write_untrained(tiny_config, tmp_path), InferenceConfig(device="gpu"))
