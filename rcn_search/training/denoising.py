"""Task of the denoiser: find the true positions of all points of a face, some of which were moved at random.

See Honari et al. 2016, sec. 4.

Shape letters: b faces, k points, n rows of a split, d draws of a row.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rcn_search.config.schema import AugmentConfig, DenoiserConfig, TrainConfig
from rcn_search.data.augment import augment_face_boxes, random_draws, warp_points
from rcn_search.data.dataset import Split
from rcn_search.errors import RcnSearchError
from rcn_search.keypoints import KeypointSchema
from rcn_search.models.decode import point_cells
from rcn_search.training.task import Batch, inside_window

_CORRUPTION_STREAM = 2  # independent of the augmentation (stream 0) and of the order of an epoch (stream 1)


class DenoisingTask:
    """Denoise faces without images: points are augmented as for images, then some of each face are moved.

    A corrupted point moves to a cell that is uniform over all cells, including the true one.
    """

    def __init__(self, config: TrainConfig, split: Split, schema: KeypointSchema, augment: AugmentConfig) -> None:
        """Prepare the task.

        Args:
            config: Configuration whose model is a denoiser.
            split: Faces.
            schema: Keypoint schema of the data set.
            augment: Ranges of the augmentation.

        Raises:
            RcnSearchError: The configuration asks for more corrupted points than a face has.
        """
        assert isinstance(config.model, DenoiserConfig)
        self.num_corrupted, self.num_points = config.model.num_corrupted_points, schema.num_points
        if self.num_corrupted > self.num_points:
            raise RcnSearchError(
                f"model.num_corrupted_points is {self.num_corrupted}, but faces of {schema.name!r} have "
                f"{self.num_points} points: set model.num_corrupted_points to at most "
                f"{self.num_points}, better to half of that"
            )
        self.split, self.device, self.augment = split, split.points_nk2.device, augment
        self.flip_k = torch.tensor(schema.flip, device=self.device)
        self.size_px = config.input.size_px
        self.ignore_outside = config.loss.points_outside == "ignore"

    def random_draws(self, num_rows: int, *, seed: int, epoch: int) -> Tensor:
        """Draw the random numbers of the augmentation, then for each point a rank, x and y (`Task.random_draws`)."""
        generator = np.random.default_rng([seed, epoch, _CORRUPTION_STREAM])
        corruption = torch.from_numpy(generator.random((num_rows, 3 * self.num_points), dtype=np.float32))
        return torch.cat([random_draws(num_rows, seed=seed, epoch=epoch), corruption], dim=1).to(self.device)

    def make_batch(self, rows_b: Tensor, draws_bd: Tensor) -> Batch:
        """Make the examples of the given rows (`Task.make_batch`).

        Inputs are cells (b, k, 2); weights are 1 for corrupted points that count in the loss.
        """
        split = self.split
        augment_bd, corruption_bd = draws_bd.tensor_split([draws_bd.shape[1] - 3 * self.num_points], dim=1)
        window = augment_face_boxes(split.face_box_n4[rows_b], augment_bd, self.augment)
        points_bk2 = warp_points(split.points_nk2[rows_b], window, self.flip_k)
        rank_bk, *positions = corruption_bd.split(self.num_points, dim=1)
        corrupted_bk = rank_bk.argsort(stable=True, dim=1) < self.num_corrupted  # the N lowest of a random permutation
        random_bk2 = (torch.stack(positions, 2) * self.size_px).floor().long()
        cells_bk2 = torch.where(corrupted_bk[..., None], random_bk2, point_cells(points_bk2, self.size_px))
        weight_bk = corrupted_bk.float()
        if self.ignore_outside:
            weight_bk = weight_bk * inside_window(points_bk2, split.edge_nk[rows_b], window, self.flip_k)
        return Batch(cells_bk2, points_bk2, weight_bk, {})
