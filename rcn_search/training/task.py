"""What a network is trained on: from rows of a split to its inputs and to the truth they are judged by.

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
    """One step's examples."""

    inputs: Tensor
    """What the network takes."""
    points_bk2: Tensor
    """True x, y, 0..1 across the window, or beyond it."""
    weight_bk: Tensor | None
    """0 for points that are not in the loss; None: all are."""
    attributes: dict[str, Tensor]
    """True classes (b,) by name."""


class Task(Protocol):
    """Makes examples; every random number in them is a function of (seed, epoch, row) alone."""

    def random_draws(self, num_rows: int, *, seed: int, epoch: int) -> Tensor:
        """The random numbers of an epoch (n, d), on the device of the split."""

    def make_batch(self, rows_b: Tensor, draws_bd: Tensor) -> Batch:
        """Examples of the given rows, by their draws."""


class LocalizationTask:
    """Keypoints in images: crops are jittered, occluded and normalized."""

    def __init__(self, config: TrainConfig, split: Split, schema: KeypointSchema, augment: AugmentConfig) -> None:
        self.split, self.device = split, split.points_nk2.device
        self.flip_k = torch.tensor(schema.flip, device=self.device)
        self.pipeline = InputPipeline(input=config.input, augment=augment, flip_k=self.flip_k)
        self.ignore_outside = config.loss.points_outside == "ignore"

    def draws(self, num_rows: int, *, seed: int, epoch: int) -> Tensor:
        """See `Task`."""
        return random_draws(num_rows, seed=seed, epoch=epoch).to(self.device)

    def batch(self, rows_b: Tensor, draws_bd: Tensor) -> Batch:
        """See `Task`."""
        split, face_box_b4 = self.split, self.split.face_box_n4[rows_b]
        inputs, points_bk2 = self.pipeline(split.images_at(rows_b), split.points_nk2[rows_b], face_box_b4, draws_bd)
        attributes = {name: value[rows_b] for name, value in split.attributes.items()}
        weight_bk = None
        if self.ignore_outside or self.pipeline.augment.flip:
            frame = augment_face_boxes(face_box_b4, draws_bd, self.pipeline.augment)
            attributes = flip_attributes(attributes, frame.is_flipped_b)
            if self.ignore_outside:
                weight_bk = inside_window(points_bk2, split.edge_nk[rows_b], frame, self.flip_k)
        return Batch(inputs, points_bk2, weight_bk, attributes)


def inside_window(points_bk2: Tensor, edge_bk: Tensor, frame: InputWindow, flip_k: Tensor) -> Tensor:
    """1 for points within the window that were not annotated at the edge of their photograph, else 0 (rcn.md 5).

    Args:
        points_bk2: 0..1 across the window.
        edge_bk: Codes of the points of the crop; renumbered where the window is mirrored.
        frame: The window.
        flip_k: How mirroring renumbers.
    """
    edge_bk = torch.where(frame.is_flipped_b[:, None], edge_bk[:, flip_k], edge_bk)
    inside = ((points_bk2 >= 0) & (points_bk2 < 1)).all(dim=2)
    return (inside & (edge_bk == 0)).float()
