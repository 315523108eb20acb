from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from rcn_search.config.schema import IMAGE_SIZE_PX, TrainConfig
from rcn_search.data.augment import NO_AUGMENTATION
from rcn_search.data.dataset import Split, open_dataset
from rcn_search.evaluation.predict_split import predict_split
from rcn_search.evaluation.protocol import rcn2016
from rcn_search.evaluation.score import score
from rcn_search.inference.config import InferenceConfig
from rcn_search.inference.predictor import Predictor
from rcn_search.keypoints import FIVE
from rcn_search.models import build_model
from rcn_search.models.decode import point_cells, predicted_cells
from rcn_search.training import validation
from rcn_search.training.checkpoint import CheckpointInfo
from rcn_search.training.task import LocalizationTask
from rcn_search.training.validation import BATCH_SIZE, Validator


def config_with(config: TrainConfig, **sections: dict[str, object]) -> TrainConfig:
    document = config.model_dump()
    return TrainConfig.model_validate({**document, **{key: {**document[key], **sections[key]} for key in sections}})


@pytest.fixture
def val(synthetic_uri: str) -> Split:
    return open_dataset(synthetic_uri).split("val")


def info_of(config: TrainConfig) -> CheckpointInfo:
    return CheckpointInfo(
        kind="weights", config=config, keypoints="five", data_fingerprint="f", epoch=1, val_error_pct=None, train_s=0
    )


@pytest.mark.parametrize("normalization", ["image", "batch", "none"])
@pytest.mark.parametrize("model", [{"branches": 3, "channels": 8}, {"name": "tcdcn", "branches": None}])
def test_validator_error_equals_the_rcn2016_score(
    tiny_config: TrainConfig, synthetic_uri: str, val: Split, normalization: str, model: dict[str, Any]
) -> None:
    """Without augmentation it equals the `rcn2016` score of a prediction file, which is computed in NumPy."""
    document = config_with(
        tiny_config, input={"contrast_normalization": normalization}, validation={"augment": False}
    ).model_dump()
    document["model"] = {key: value for key, value in model.items() if value}
    config = TrainConfig.model_validate(document)
    network = build_model(config.model, num_points=5, seed=1)
    predictions = predict_split(
        Predictor(network, info_of(config), InferenceConfig(device="cpu")),
        open_dataset(synthetic_uri),
        "val",
        method="m",
    )
    expected = score(predictions, rcn2016("synthetic", "val", "five"))
    assert expected.num_images == val.num_rows
    error_pct = Validator(config, val, val.num_rows, FIVE).error_pct(network)
    assert error_pct == pytest.approx(expected.error_pct, abs=1e-4)


def stacked(config: TrainConfig, split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    """All inputs and points."""
    batches = Validator(config, split, split.num_rows, FIVE).batches
    return torch.cat([batch.inputs for batch in batches]), torch.cat([batch.points_bk2 for batch in batches])


def normalizer_px(config: TrainConfig, split: Split) -> torch.Tensor:
    validator = Validator(config, split, split.num_rows, FIVE)
    return torch.cat([validator.normalizer_px(batch) for batch in validator.batches])


def test_validator_augmentation_is_fixed_and_never_flips(tiny_config: TrainConfig, val: Split) -> None:
    augmented, plain = tiny_config, config_with(tiny_config, validation={"augment": False})
    fixed = stacked(augmented, val)
    assert not any(torch.equal(a, b) for a, b in zip(stacked(plain, val), fixed, strict=True))
    # The seed of a run and its flip augmentation do not change the validation images.
    other = config_with(TrainConfig.model_validate(augmented.model_dump() | {"seed": 9}), augment={"flip": 1.0})
    assert all(torch.equal(a, b) for a, b in zip(stacked(other, val), fixed, strict=True))


def test_validator_eye_distance_is_of_the_augmented_face(tiny_config: TrainConfig, val: Split) -> None:
    """It is computed from the warped points, so the scale of the augmentation changes it by at most a tenth."""
    plain_b = normalizer_px(config_with(tiny_config, validation={"augment": False}), val)
    eyes = val.points_nk2[:, :2] * (80 / val.face_box_n4[:, None, 2:])
    torch.testing.assert_close(plain_b, (eyes[:, 0] - eyes[:, 1]).norm(dim=1))
    augmented_b = normalizer_px(tiny_config, val)
    ratio = augmented_b / plain_b
    assert not torch.equal(augmented_b, plain_b)
    assert 1 / 1.1 - 1e-5 <= ratio.min() < 1 < ratio.max() <= 1 / 0.9 + 1e-5


def test_validator_uses_the_first_rows_in_fixed_batches(tiny_config: TrainConfig, val: Split) -> None:
    config = config_with(tiny_config, validation={"augment": False})
    image, _ = stacked(config, val)
    (first,) = Validator(config, val, 7, FIVE).batches
    assert torch.equal(first.inputs, image[:7])
    assert val.images[0].shape[1] == IMAGE_SIZE_PX
    many = Split(
        **{
            **{name: getattr(val, name) for name in ("box_n4", "image_id_n", "group_n", "visible_nk")},
            "attributes": {},
            "images": (val.images_at(torch.zeros(BATCH_SIZE + 1, dtype=torch.long)),),
            "points_nk2": val.points_nk2[[0] * (BATCH_SIZE + 1)],
            "face_box_n4": val.face_box_n4[[0] * (BATCH_SIZE + 1)],
            "edge_nk": val.edge_nk[[0] * (BATCH_SIZE + 1)],
            "photo_n4": val.photo_n4[[0] * (BATCH_SIZE + 1)],
        }
    )
    assert [len(batch.inputs) for batch in Validator(config, many, BATCH_SIZE + 1, FIVE).batches] == [BATCH_SIZE, 1]


def test_validator_error_ignores_points_of_weight_zero(tiny_config: TrainConfig, val: Split) -> None:
    """Neither points at the edge of their photograph nor an image with only such points change the error."""
    config = config_with(tiny_config, validation={"augment": False}, loss={"points_outside": "ignore"})
    network = build_model(config.model, num_points=5, seed=1)
    plain = Validator(config, val, 2, FIVE)
    (batch,) = plain.batches
    assert batch.weight_bk is not None
    assert batch.weight_bk.all()
    edge_nk = val.edge_nk.clone()
    edge_nk[0, 2:] = 1
    edge_nk[1] = 3
    actual = Validator(config, replace(val, edge_nk=edge_nk), 2, FIVE).error_pct(network)
    cells = predicted_cells(network(batch.inputs), 80)[0, :2]
    distance = (cells - point_cells(batch.points_bk2, 80)[0, :2]).float().norm(dim=1)
    expected = 100 * distance.mean() / plain.normalizer_px(batch)[0]
    assert actual == pytest.approx(float(expected), abs=1e-4)


def test_validator_of_l2_loss_decodes_by_soft_argmax(tiny_config: TrainConfig, val: Split) -> None:
    config = config_with(tiny_config, loss={"name": "l2"})
    network = build_model(config.model, num_points=5, seed=1)
    by_mean, by_peak = (Validator(loss, val, 9, FIVE).error_pct(network) for loss in (config, tiny_config))
    assert by_mean < by_peak  # the mean of an untrained network is near the center


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_localization_task_ignores_edge_points_of_flipped_images(
    tiny_config: TrainConfig, val: Split, flip: float
) -> None:
    edge_nk = val.edge_nk.clone()
    edge_nk[:, 3] = 1  # the left corner of the mouth; the right one of a flipped face
    config = config_with(tiny_config, loss={"points_outside": "ignore"})
    task = LocalizationTask(
        config, replace(val, edge_nk=edge_nk), FIVE, NO_AUGMENTATION.model_copy(update={"flip": flip})
    )
    batch = task.make_batch(torch.arange(4), task.random_draws(4, seed=0, epoch=0))
    assert batch.weight_bk is not None
    assert batch.weight_bk.tolist() == [[1, 1, 1, 1, 0] if flip else [1, 1, 1, 0, 1]] * 4


def test_validator_attribute_errors_are_means_over_images_of_unequal_batches(
    tiny_config: TrainConfig, val: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tiny_config.model_dump() | {"model": {"name": "tcdcn", "auxiliary": True}}
    config = TrainConfig.model_validate(document)
    network = build_model(config.model, num_points=5, seed=1).eval()
    monkeypatch.setattr(validation, "BATCH_SIZE", 8)
    validator = Validator(config, val, 17, FIVE)
    assert [len(batch.points_bk2) for batch in validator.batches] == [8, 8, 1]
    with torch.inference_mode():
        logits = [network(batch.inputs).attributes_logits for batch in validator.batches]
    expected = {
        name: float(F.cross_entropy(torch.cat([each[name] for each in logits]), val.attributes[name][:17].long()))
        for name in logits[0]
    }
    assert len(expected) == 4
    expected["skin"] = 0.0  # no network learns it
    assert validator.attribute_errors(network) == pytest.approx(expected, rel=1e-5)
