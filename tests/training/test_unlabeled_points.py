"""Points that are not labeled, NaN in a data set, count neither in the loss nor in the validation error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rcn_search.config.schema import TrainConfig
from rcn_search.data.augment import NO_AUGMENTATION
from rcn_search.data.dataset import Split, open_dataset
from rcn_search.errors import RcnSearchError
from rcn_search.keypoints import FIVE
from rcn_search.models import build_model
from rcn_search.models.decode import point_cells, predicted_cells
from rcn_search.training.loss import spatial_nll, training_loss
from rcn_search.training.task import LocalizationTask, build_task
from rcn_search.training.validation import Validator

NOSE, LEFT_MOUTH, RIGHT_MOUTH = 2, 3, 4


@pytest.fixture
def whole(synthetic_uri: str) -> Split:
    return open_dataset(synthetic_uri).split("val")


@pytest.fixture
def partial(whole: Split) -> Split:
    """Image 0 lacks the left corner of the mouth, image 1 the left eye."""
    points_nk2 = whole.points_nk2.clone()
    points_nk2[0, LEFT_MOUTH] = torch.nan
    points_nk2[1, 0] = torch.nan
    return replace(whole, points_nk2=points_nk2, visible_nk=points_nk2.isfinite().all(2))


def with_sections(config: TrainConfig, **sections: dict[str, object]) -> TrainConfig:
    document = config.model_dump(mode="json")
    return TrainConfig.model_validate(document | {key: document[key] | value for key, value in sections.items()})


def test_loss_is_that_of_the_labeled_points(tiny_config: TrainConfig, partial: Split) -> None:
    task = LocalizationTask(tiny_config, partial, FIVE, NO_AUGMENTATION)
    rows = torch.arange(2)
    batch = task.make_batch(rows, task.random_draws(2, seed=0, epoch=0))
    assert batch.labeled_bk is not None
    assert batch.weight_bk is not None
    assert (~batch.labeled_bk).nonzero().tolist() == [[0, LEFT_MOUTH], [1, 0]]
    assert torch.equal(batch.weight_bk.bool(), batch.labeled_bk)
    assert batch.points_bk2.isfinite().all()
    logits = torch.randn(2, 5, 80, 80, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = training_loss(tiny_config, logits, batch.points_bk2, {}, batch.weight_bk)
    loss.backward()
    single = [
        spatial_nll(logits[i : i + 1, k : k + 1], batch.points_bk2[i : i + 1, k : k + 1])
        for i, k in batch.labeled_bk.nonzero().tolist()
    ]
    assert loss.item() == pytest.approx(5 * torch.stack(single).mean().item(), rel=1e-6)
    assert not logits.grad[0, LEFT_MOUTH].any(), "a point that is not labeled has no gradient"
    assert logits.grad[0, RIGHT_MOUTH].any()


def test_flip_moves_the_weight_with_its_point(tiny_config: TrainConfig, partial: Split) -> None:
    augment = NO_AUGMENTATION.model_copy(update={"flip": 1.0})
    config = with_sections(tiny_config, loss={"points_outside": "ignore"})
    task = LocalizationTask(config, partial, FIVE, augment)
    batch = task.make_batch(torch.arange(2), task.random_draws(2, seed=0, epoch=0))
    assert batch.weight_bk is not None
    assert (batch.weight_bk == 0).nonzero().tolist() == [[0, RIGHT_MOUTH], [1, 1]]


def test_whole_faces_have_no_weights(tiny_config: TrainConfig, whole: Split) -> None:
    task = LocalizationTask(tiny_config, whole, FIVE, NO_AUGMENTATION)
    batch = task.make_batch(torch.arange(2), task.random_draws(2, seed=0, epoch=0))
    assert batch.weight_bk is batch.labeled_bk is None


def test_validation_error_is_that_of_the_labeled_points(tiny_config: TrainConfig, partial: Split, whole: Split) -> None:
    """The second image has no eye distance, so it does not count."""
    config = with_sections(tiny_config, validation={"augment": False})
    network = build_model(config.model, num_points=5, seed=1).eval()
    error_n, counts_n = Validator(config, partial, 3, FIVE).image_errors(network)
    assert counts_n.tolist() == [True, False, True]
    (batch,) = Validator(config, whole, 3, FIVE).batches
    with torch.inference_mode():
        cells = predicted_cells(network(batch.inputs), 80, "argmax")
    distance = (cells - point_cells(batch.points_bk2, 80)).float().norm(dim=2)
    eyes = (batch.points_bk2[:, 0] - batch.points_bk2[:, 1]).norm(dim=1) * 80
    kept = [0, 1, NOSE, RIGHT_MOUTH]
    assert float(error_n[0]) == pytest.approx(float(distance[0, kept].mean() / eyes[0]), rel=1e-5)
    assert float(error_n[2]) == pytest.approx(float(distance[2].mean() / eyes[2]), rel=1e-5)
    expected = 50 * float(error_n[0] + error_n[2])
    assert Validator(config, partial, 3, FIVE).error_pct(network) == pytest.approx(expected, rel=1e-5)


def test_validation_without_any_normalizer_is_an_error(tiny_config: TrainConfig, whole: Split) -> None:
    points_nk2 = whole.points_nk2.clone()
    points_nk2[:, 0] = torch.nan
    network = build_model(tiny_config.model, num_points=5)
    with pytest.raises(RcnSearchError, match=r"none of the 4 validation images has .* the normalizer 'eye_centers'"):
        Validator(tiny_config, replace(whole, points_nk2=points_nk2), 4, FIVE).error_pct(network)


def test_validator_without_normalizers_uses_the_box_of_labeled_points(tiny_config: TrainConfig, partial: Split) -> None:
    config = with_sections(tiny_config, validation={"augment": False})
    validator = Validator(config, partial, 2, replace(FIVE, normalizers={}))
    (batch,) = validator.batches
    for row, length in enumerate(validator.normalizer_px(batch).tolist()):
        points = partial.points_nk2[row].numpy() * (80 / partial.face_box_n4[row, 2].item())
        expected = np.sqrt(np.ptp(points[np.isfinite(points).all(1)], axis=0).prod())
        assert length == pytest.approx(expected, rel=1e-4)


def test_denoiser_needs_whole_faces(tiny_config: TrainConfig, partial: Split) -> None:
    document = tiny_config.model_dump(mode="json", exclude={"model"})
    model = {"name": "denoiser", "num_corrupted_points": 2}
    config = TrainConfig.model_validate(document | {"model": model})
    with pytest.raises(RcnSearchError, match="a denoiser learns from complete faces"):
        build_task(config, partial, FIVE, NO_AUGMENTATION)
