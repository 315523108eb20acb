"""Tasks that networks learn: from rows of a split to network inputs and the ground truth of the loss.

Shape letters: b images, c channels, k points, h rows, w columns, n rows of a split, d draws of a row.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from rcn_search.config.schema import AugmentConfig, TrainConfig
from rcn_search.data.augment import InputPipeline, InputWindow, augment_face_boxes, flip_attributes, random_draws
from rcn_search.data.dataset import Split
from rcn_search.keypoints import KeypointSchema


class Batch(NamedTuple):
    """Training examples of one step."""

    inputs: Tensor
    """Network inputs."""
    points_bk2: Tensor
    """True x, y in window coordinates: 0..1 within the window."""
    weight_bk: Tensor | None
    """1 for points that count in the loss, else 0; None if all count."""
    attributes: dict[str, Tensor]
    """True classes (b,) by name."""


class Task(Protocol):
    """Makes training examples, whose random numbers depend only on (seed, epoch, row)."""

    def random_draws(self, num_rows: int, *, seed: int, epoch: int) -> Tensor:
        """Draw the random numbers of an epoch: (n, d) on the device of the split, one row for each row of the split."""

    def make_batch(self, rows_b: Tensor, draws_bd: Tensor) -> Batch:
        """Make the examples of the given rows of the split.

        Args:
            rows_b: Rows of the split.
            draws_bd: Their random numbers, from `random_draws`.
        """


class LocalizationTask:
    """Localize keypoints in images that are augmented, occluded and normalized."""

    def __init__(self, config: TrainConfig, split: Split, schema: KeypointSchema, augment: AugmentConfig) -> None:
        self.split, self.device = split, split.points_nk2.device
        self.flip_k = torch.tensor(schema.flip, device=self.device)
        self.pipeline = InputPipeline(input=config.input, augment=augment, flip_k=self.flip_k)
        self.ignore_outside = config.loss.points_outside == "ignore"

    def random_draws(self, num_rows: int, *, seed: int, epoch: int) -> Tensor:
        """Draw the random numbers of the augmentation, as `Task.random_draws`."""
        return random_draws(num_rows, seed=seed, epoch=epoch).to(self.device)

    def make_batch(self, rows_b: Tensor, draws_bd: Tensor) -> Batch:
        """Make the examples of the given rows, as `Task.make_batch`."""
        split, face_box_b4 = self.split, self.split.face_box_n4[rows_b]
        inputs, points_bk2 = self.pipeline(split.images_at(rows_b), split.points_nk2[rows_b], face_box_b4, draws_bd)
        attributes = {name: value[rows_b] for name, value in split.attributes.items()}
        weight_bk = None
        if self.ignore_outside or self.pipeline.augment.flip:
            window = augment_face_boxes(face_box_b4, draws_bd, self.pipeline.augment)
            attributes = flip_attributes(attributes, window.is_flipped_b)
            if self.ignore_outside:
                weight_bk = inside_window(points_bk2, split.edge_nk[rows_b], window, self.flip_k)
        return Batch(inputs, points_bk2, weight_bk, attributes)


def inside_window(points_bk2: Tensor, edge_bk: Tensor, window: InputWindow, flip_k: Tensor) -> Tensor:
    """Find the points that count in the loss if ``loss.points_outside`` is ``ignore``: (b, k) float32, 1 or 0.

    These are the points within the window that were not annotated at the edge of their photograph
    (docs/explanation/model-specification.md, "Loss").

    Args:
        points_bk2: x, y in window coordinates.
        edge_bk: Edge codes of the points in the unflipped crop, see `Split.edge_nk`.
        window: Input window of each image.
        flip_k: Flip permutation of the keypoint schema.
    """
    edge_bk = torch.where(window.is_flipped_b[:, None], edge_bk[:, flip_k], edge_bk)
    inside = ((points_bk2 >= 0) & (points_bk2 < 1)).all(dim=2)
    return (inside & (edge_bk == 0)).float()
