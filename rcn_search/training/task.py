"""Tasks that networks learn: from rows of a split to network inputs and the ground truth of the loss.

Shape letters: b images, c channels, k points, h rows, w columns, n rows of a split, d draws of a row.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from rcn_search.config.schema import AugmentConfig, DenoiserConfig, TrainConfig
from rcn_search.data.augment import (
    InputPipeline,
    InputWindow,
    appearance_draws,
    augment_face_boxes,
    flip_attributes,
    random_draws,
    shift_flipped_points,
    warp_points,
)
from rcn_search.data.dataset import Split
from rcn_search.errors import RcnSearchError
from rcn_search.keypoints import KeypointSchema
from rcn_search.models.decode import point_cells

_CORRUPTION_STREAM = 2  # independent of the augmentation (stream 0) and of the order of an epoch (stream 1)


class Batch(NamedTuple):
    """Training examples of one step."""

    inputs: Tensor
    points_bk2: Tensor  # true x, y in window coordinates: 0..1 within the window
    weight_bk: Tensor | None  # 1 for points that count in the loss, else 0; None if all count
    attributes: dict[str, Tensor]  # true classes (b,) by name
    labeled_bk: Tensor | None = None  # whether points have coordinates, else those of the window's center; None if all


class Task(Protocol):
    """Makes training examples, whose random numbers depend only on (seed, epoch, row)."""

    def random_draws(self, num_rows: int, *, seed: int, epoch: int) -> Tensor:
        """Draw the random numbers of an epoch: (n, d) on the device of the split, one row for each row of the split."""

    def make_batch(self, rows_b: Tensor, draws_bd: Tensor) -> Batch:
        """Make the examples of the given rows of the split; ``draws_bd`` are these rows of `random_draws`."""


class LocalizationTask:
    """Localize keypoints in images that are augmented, occluded and normalized."""

    def __init__(self, config: TrainConfig, split: Split, schema: KeypointSchema, augment: AugmentConfig) -> None:
        self.split, self.device = split, split.points_nk2.device
        self.flip_k = torch.tensor(schema.flip, device=self.device)
        self.pixel_n = split.image_pixel_n() if augment.flip_label_origin else None
        self.pipeline = InputPipeline(input=config.input, augment=augment, flip_k=self.flip_k)
        self.ignore_outside = config.loss.points_outside == "ignore"
        self.has_unlabeled = has_unlabeled_points(split)

    def random_draws(self, num_rows: int, *, seed: int, epoch: int) -> Tensor:
        """Draw the random numbers of the augmentation, as `Task.random_draws`."""
        appearance_nd = appearance_draws(num_rows, self.pipeline.augment, seed=seed, epoch=epoch)
        return torch.cat([random_draws(num_rows, seed=seed, epoch=epoch), appearance_nd], dim=1).to(self.device)

    def make_batch(self, rows_b: Tensor, draws_bd: Tensor) -> Batch:
        """Make the examples of the given rows, as `Task.make_batch`."""
        split, face_box_b4 = self.split, self.split.face_box_n4[rows_b]
        points_bk2 = split.points_nk2[rows_b]
        if self.pixel_n is not None:
            points_bk2 = shift_flipped_points(points_bk2, draws_bd, self.pixel_n[rows_b], self.pipeline.augment.flip)
        inputs, points_bk2 = self.pipeline(split.images_at(rows_b), points_bk2, face_box_b4, draws_bd)
        attributes = {name: value[rows_b] for name, value in split.attributes.items()}
        labeled_bk = points_bk2.isfinite().all(dim=2) if self.has_unlabeled else None
        weight_bk = None if labeled_bk is None else labeled_bk.float()
        if self.ignore_outside or self.pipeline.augment.flip:
            window = augment_face_boxes(face_box_b4, draws_bd, self.pipeline.augment)
            attributes = flip_attributes(attributes, window.is_flipped_b)
            if self.ignore_outside:
                inside_bk = inside_window(points_bk2, split.edge_nk[rows_b], window, self.flip_k)
                weight_bk = inside_bk if weight_bk is None else weight_bk * inside_bk
        if labeled_bk is not None:  # a loss of weight 0 must be finite
            points_bk2 = torch.where(labeled_bk[..., None], points_bk2, 0.5)
        return Batch(inputs, points_bk2, weight_bk, attributes, labeled_bk)


class DenoisingTask:
    """Denoise faces without images: points are augmented, then some are moved (Honari et al. 2016, sec. 4).

    A corrupted point moves to a cell that is uniform over all cells, including the true one.
    """

    def __init__(self, config: TrainConfig, split: Split, schema: KeypointSchema, augment: AugmentConfig) -> None:
        """Prepare the task; raise `RcnSearchError` if more points are to be corrupted than a face has."""
        assert isinstance(config.model, DenoiserConfig)
        self.num_corrupted, self.num_points = config.model.num_corrupted_points, schema.num_points
        if self.num_corrupted > self.num_points:
            raise RcnSearchError(
                f"model.num_corrupted_points is {self.num_corrupted}, but faces of {schema.name!r} have "
                f"{self.num_points} points: set model.num_corrupted_points to at most {self.num_points}, better to "
                "half of that"
            )
        self.split, self.device, self.augment = split, split.points_nk2.device, augment
        self.flip_k = torch.tensor(schema.flip, device=self.device)
        self.pixel_n = split.image_pixel_n() if augment.flip_label_origin else None
        self.size_px = config.input.size_px
        self.ignore_outside = config.loss.points_outside == "ignore"
        if has_unlabeled_points(split):
            raise RcnSearchError(
                f"a denoiser learns from complete faces, but points of {config.data.uri} are not labeled; train it on "
                "another data set"
            )

    def random_draws(self, num_rows: int, *, seed: int, epoch: int) -> Tensor:
        """Draw the random numbers of the augmentation, then for each point a rank, x and y (`Task.random_draws`)."""
        generator = np.random.default_rng([seed, epoch, _CORRUPTION_STREAM])
        corruption = torch.from_numpy(generator.random((num_rows, 3 * self.num_points), dtype=np.float32))
        return torch.cat([random_draws(num_rows, seed=seed, epoch=epoch), corruption], dim=1).to(self.device)

    def make_batch(self, rows_b: Tensor, draws_bd: Tensor) -> Batch:
        """Make the examples (`Task.make_batch`): inputs are cells (b, k, 2), weights 1 for corrupted points."""
        split = self.split
        augment_bd, corruption_bd = draws_bd.tensor_split([draws_bd.shape[1] - 3 * self.num_points], dim=1)
        window = augment_face_boxes(split.face_box_n4[rows_b], augment_bd, self.augment)
        points_bk2 = split.points_nk2[rows_b]
        if self.pixel_n is not None:
            points_bk2 = shift_flipped_points(points_bk2, augment_bd, self.pixel_n[rows_b], self.augment.flip)
        points_bk2 = warp_points(points_bk2, window, self.flip_k)
        rank_bk, *positions = corruption_bd.split(self.num_points, dim=1)
        corrupted_bk = rank_bk.argsort(stable=True, dim=1) < self.num_corrupted  # the N lowest of a random permutation
        random_bk2 = (torch.stack(positions, 2) * self.size_px).floor().long()
        cells_bk2 = torch.where(corrupted_bk[..., None], random_bk2, point_cells(points_bk2, self.size_px))
        weight_bk = corrupted_bk.float()
        if self.ignore_outside:
            weight_bk = weight_bk * inside_window(points_bk2, split.edge_nk[rows_b], window, self.flip_k)
        return Batch(cells_bk2, points_bk2, weight_bk, {})


def build_task(config: TrainConfig, split: Split, schema: KeypointSchema, augment: AugmentConfig) -> Task:
    """Create the task that the model of a configuration learns."""
    make_task = DenoisingTask if config.model.name == "denoiser" else LocalizationTask
    return make_task(config, split, schema, augment)


def has_unlabeled_points(split: Split) -> bool:
    """Whether a split has points without coordinates (NaN)."""
    return not bool(split.points_nk2.isfinite().all())


def inside_window(points_bk2: Tensor, edge_bk: Tensor, window: InputWindow, flip_k: Tensor) -> Tensor:
    """Find the points that count in the loss if ``loss.points_outside`` is ``ignore``: (b, k) float32, 1 or 0.

    These are the points within the window that were not annotated at the edge of their photograph
    (docs/explanation/model-specification.md, "Loss").
    """
    edge_bk = torch.where(window.is_flipped_b[:, None], edge_bk[:, flip_k], edge_bk)
    inside = ((points_bk2 >= 0) & (points_bk2 < 1)).all(dim=2)
    return (inside & (edge_bk == 0)).float()
