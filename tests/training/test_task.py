from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from rcn_search.config.schema import AugmentConfig, TrainConfig
from rcn_search.data.augment import NO_AUGMENTATION, augment_face_boxes, random_draws, warp_points
from rcn_search.data.crops import enclosing_box
from rcn_search.data.dataset import Split
from rcn_search.data.synthetic.head import Head
from rcn_search.data.synthetic.projection import frame, landmarks_xyz
from rcn_search.data.synthetic.traits import random_traits
from rcn_search.keypoints import FIVE, IBUG68
from rcn_search.models import build_model
from rcn_search.models.decode import argmax_cells, point_cells
from rcn_search.training.loss import training_loss
from rcn_search.training.optim import build_optimizers, learning_rate
from rcn_search.training.task import Batch, DenoisingTask, LocalizationTask

NUM_FACES = 160


def face(seed: int) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """Points (68, 2) of a synthetic face and a box around them, without a picture."""
    traits = random_traits(np.random.default_rng([seed, 0]))
    landmarks = landmarks_xyz(Head(traits))
    points = np.stack(frame(traits, landmarks, np.random.default_rng([seed, 1])).project(landmarks))[:2].T
    return points.astype(np.float32), enclosing_box(points, 1.3)


@pytest.fixture(scope="module")
def split() -> Split:
    """68 points of some faces, without images."""
    points, boxes = zip(*map(face, range(NUM_FACES)), strict=True)
    names = np.array([f"{i}" for i in range(NUM_FACES)])
    return Split(
        images=(),
        points_nk2=torch.from_numpy(np.stack(points)),
        visible_nk=torch.ones(NUM_FACES, 68, dtype=torch.bool),
        face_box_n4=torch.tensor(boxes, dtype=torch.float32),
        box_n4=np.zeros((NUM_FACES, 4), np.float32),
        image_id_n=names,
        group_n=names,
        attributes={},
        edge_nk=torch.zeros(NUM_FACES, 68, dtype=torch.uint8),
        photo_n4=torch.tensor([[0.0, 0, 160, 160]]).expand(NUM_FACES, 4),
    )


def config_of(corrupted: int = 35, **sections: dict[str, object]) -> TrainConfig:
    model = {"name": "denoiser", "num_corrupted_points": corrupted}
    return TrainConfig.model_validate(
        {"data": {"uri": "nowhere"}, "model": model, "input": {"size_px": 40}, **sections}
    )


def task_of(config: TrainConfig, split: Split) -> DenoisingTask:
    return DenoisingTask(config, split, IBUG68, config.augment)


def every_row(task: DenoisingTask, seed: int = 0, epoch: int = 0) -> Batch:
    return task.make_batch(torch.arange(NUM_FACES), task.random_draws(NUM_FACES, seed=seed, epoch=epoch))


@pytest.mark.parametrize("corrupted", [1, 35, 68])
def test_denoising_task_moves_the_configured_number_of_points(split: Split, corrupted: int) -> None:
    batch = every_row(task_of(config_of(corrupted), split))
    true_cells = point_cells(batch.points_bk2, 40)
    moved = (batch.inputs != true_cells).any(2)
    assert batch.weight_bk is not None
    assert (batch.weight_bk.sum(1) == corrupted).all()
    assert not (moved & (batch.weight_bk == 0)).any()
    # One new position in 1,600 is the old one.
    assert moved.sum() > 0.99 * NUM_FACES * corrupted
    assert batch.inputs.dtype == torch.int64
    assert batch.inputs.min() >= 0
    assert batch.inputs.max() < 40


def test_denoising_task_augments_points_as_for_images(split: Split) -> None:
    config = config_of(augment={"flip": 0.5})
    draws = random_draws(NUM_FACES, seed=3, epoch=5)
    expected = warp_points(
        split.points_nk2, augment_face_boxes(split.face_box_n4, draws, config.augment), torch.tensor(IBUG68.flip)
    )
    batch = every_row(task_of(config, split), seed=3, epoch=5)
    torch.testing.assert_close(batch.points_bk2, expected, rtol=0, atol=1e-6)
    assert batch.attributes == {}


@pytest.mark.parametrize("make_task", [DenoisingTask, LocalizationTask])
def test_task_flips_points_by_the_origin_of_their_labels(
    split: Split, make_task: type[DenoisingTask | LocalizationTask]
) -> None:
    crops = torch.zeros(NUM_FACES, 160, 160, dtype=torch.uint8)
    split = replace(split, images=(crops,), box_n4=np.tile(np.float32([0, 0, 40, 40]), (NUM_FACES, 1)))
    rows, x_bk = torch.arange(NUM_FACES), {}
    for origin in (0, 1):
        augment = AugmentConfig(translate=0, scale=0, rotate_deg=0, flip=0.5, flip_label_origin=origin)
        task = make_task(config_of(), split, IBUG68, augment)
        batch = task.make_batch(rows, task.random_draws(NUM_FACES, seed=0, epoch=0))
        x_bk[origin] = batch.points_bk2[:, :, 0] * split.face_box_n4[:, 2:3]  # in crop pixels
    shift_bk = x_bk[1] - x_bk[0]
    flipped_b = shift_bk[:, 0] > 2
    assert 0.3 < flipped_b.float().mean() < 0.7
    # A pixel of the photograph is four of the crop.
    torch.testing.assert_close(shift_bk, (4.0 * flipped_b)[:, None].expand(NUM_FACES, 68), rtol=0, atol=1e-3)


def test_denoising_task_corruption_is_uniform(split: Split) -> None:
    """28,000 new positions are uniform over 16 squares, and each point is corrupted equally often."""
    task = task_of(config_of(), split)
    positions, num_corrupted = [], torch.zeros(68)
    for epoch in range(5):
        batch = every_row(task, epoch=epoch)
        assert batch.weight_bk is not None
        positions.append(batch.inputs[batch.weight_bk > 0])
        num_corrupted += batch.weight_bk.sum(0)
    square = torch.cat(positions) // 10
    counts = torch.bincount(square[:, 0] * 4 + square[:, 1], minlength=16) / len(square) * 16
    assert (counts - 1).abs().max() < 0.1
    share = num_corrupted / (5 * NUM_FACES) * 68 / 35
    assert (share - 1).abs().max() < 0.15


def test_denoising_task_differs_between_epochs_and_seeds(split: Split) -> None:
    task = task_of(config_of(), split)
    first = every_row(task)
    assert torch.equal(first.inputs, every_row(task).inputs)
    for other in (every_row(task, epoch=1), every_row(task, seed=1)):
        assert (first.weight_bk != other.weight_bk).any(1).float().mean() > 0.9
        assert (first.inputs != other.inputs).any(2).float().mean() > 0.9


def test_denoising_task_row_does_not_depend_on_its_batch(split: Split) -> None:
    config = config_of()
    everything = every_row(task_of(config, split))
    task = task_of(config, split)
    rows = torch.tensor([17, 3, 99])
    part = task.make_batch(rows, task.random_draws(100, seed=0, epoch=0)[rows])
    assert torch.equal(part.inputs, everything.inputs[rows])
    assert torch.equal(part.weight_bk, everything.weight_bk[rows])
    torch.testing.assert_close(part.points_bk2, everything.points_bk2[rows])


def test_denoising_task_corruption_is_independent_of_augmentation(split: Split) -> None:
    config = config_of()
    still = DenoisingTask(config, split, IBUG68, NO_AUGMENTATION)
    moving = every_row(task_of(config, split))
    assert torch.equal(every_row(still).weight_bk, moving.weight_bk)
    augment_draws, corruption_draws = still.random_draws(NUM_FACES, seed=0, epoch=0).tensor_split([-3 * 68], dim=1)
    assert torch.isin(augment_draws, corruption_draws).float().mean() < 0.01


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_denoising_task_can_ignore_points_outside_or_at_an_edge(split: Split, flip: float) -> None:
    edge = split.edge_nk.clone()
    edge[:, 2] = 3  # a point of the left contour; the opposite one of a flipped face
    cut = replace(split, edge_nk=edge)
    config = config_of(68, augment={"flip": flip, "translate": 0.3}, loss={"points_outside": "ignore"})
    batch = every_row(task_of(config, cut))
    inside = ((batch.points_bk2 >= 0) & (batch.points_bk2 < 1)).all(2)
    at_edge = torch.zeros(68, dtype=torch.bool)
    at_edge[IBUG68.flip[2] if flip else 2] = True
    assert 0.5 < inside.float().mean() < 0.99
    assert torch.equal(batch.weight_bk, (inside & ~at_edge).float())
    plain = every_row(task_of(config_of(68, augment={"flip": flip, "translate": 0.3}), cut))
    assert plain.weight_bk.all()


def test_denoising_task_with_too_many_corrupted_points_is_refused(split: Split) -> None:
    with pytest.raises(ValueError, match=r"set model\.num_corrupted_points to at most 5"):
        DenoisingTask(config_of(35), split, FIVE, NO_AUGMENTATION)


def test_denoiser_after_short_training_beats_the_mean_face(split: Split) -> None:
    """On other faces than it was trained on; its error is about 3.0 cells, that of the mean face 5.5."""
    model = {"name": "denoiser", "kernel_px": 29, "channels": 16, "num_corrupted_points": 35}
    config = config_of(model=model, augment={"rotate_deg": 15.0}, optimizer={"name": "muon", "lr": 8e-3})
    num_train, num_steps = NUM_FACES - 40, 45
    task = task_of(config, split)
    network = build_model(config.model, num_points=68, input_px=40)
    optimizers = build_optimizers(network, config.optimizer)
    rows = torch.arange(num_train).split(12)
    cells: list[Tensor] = []
    for step in range(num_steps):
        epoch, index = divmod(step, len(rows))
        batch = task.make_batch(rows[index], task.random_draws(num_train, seed=0, epoch=epoch)[rows[index]])
        cells.append(batch.points_bk2 * 40)
        training_loss(config, network(batch.inputs), batch.points_bk2, {}, batch.weight_bk).backward()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, num_steps, config.optimizer, config.schedule)
            optimizer.step()
        network.zero_grad()
    held_out = torch.arange(num_train, NUM_FACES)
    batch = task.make_batch(held_out, task.random_draws(NUM_FACES, seed=9, epoch=0)[held_out])
    with torch.inference_mode():
        restored = argmax_cells(network(batch.inputs)) + 0.5
    guesses = restored, torch.cat(cells).mean(0)
    error, baseline = ((guess - batch.points_bk2 * 40).norm(dim=2)[batch.weight_bk > 0].mean() for guess in guesses)
    assert error < 0.7 * baseline
