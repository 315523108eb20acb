"""What the denoiser is trained on: faces some of whose points have been put at a random place (rcn.md 7).

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

_CORRUPTION_STREAM = 2  # independent of the jitter, which is stream 0, and of the order of an epoch, which is 1


class DenoisingTask:
    """Faces without images: points are jittered as for images, then some of each face are put anywhere.

    The corrupted points of a face are distinct; a new place is uniform over all cells, the true one among them.
    """

    def __init__(self, config: TrainConfig, split: Split, schema: KeypointSchema, augment: AugmentConfig) -> None:
        """Args as of any task.

        Raises:
            RcnSearchError: There are fewer points than are to be corrupted.
        """
        assert isinstance(config.model, DenoiserConfig)
        self.num_corrupted, self.num_points = config.model.num_corrupted_points, schema.num_points
        if self.num_corrupted > self.num_points:
            raise RcnSearchError(
                f"model.num_corrupted_points is {self.num_corrupted}, but faces of {schema.name!r} have "
                f"{self.num_points} points: set model.num_corrupted_points to at most {self.num_points}, better to half of them"
            )
        self.split, self.device, self.augment = split, split.points_nk2.device, augment
        self.flip_k = torch.tensor(schema.flip, device=self.device)
        self.size_px = config.input.size_px
        self.ignore_outside = config.loss.points_outside == "ignore"

    def draws(self, num_rows: int, *, seed: int, epoch: int) -> Tensor:
        """See `Task`: the draws of the jitter, then for each point a rank and a place, x and y."""
        generator = np.random.default_rng([seed, epoch, _CORRUPTION_STREAM])
        corruption = torch.from_numpy(generator.random((num_rows, 3 * self.num_points), dtype=np.float32))
        return torch.cat([random_draws(num_rows, seed=seed, epoch=epoch), corruption], dim=1).to(self.device)

    def batch(self, rows_b: Tensor, draws_bd: Tensor) -> Batch:
        """See `Task`. Inputs are cells (b, k, 2); the weight is 1 for corrupted points that are in the loss."""
        split = self.split
        jitter_bd, corruption_bd = draws_bd.tensor_split([draws_bd.shape[1] - 3 * self.num_points], dim=1)
        frame = augment_face_boxes(split.face_box_n4[rows_b], jitter_bd, self.augment)
        points_bk2 = warp_points(split.points_nk2[rows_b], frame, self.flip_k)
        rank_bk, *places = corruption_bd.split(self.num_points, dim=1)
        corrupted_bk = rank_bk.argsort(stable=True, dim=1) < self.num_corrupted  # a random permutation's N lowest
        place_bk2 = (torch.stack(places, 2) * self.size_px).floor().long()
        cells_bk2 = torch.where(corrupted_bk[..., None], place_bk2, point_cells(points_bk2, self.size_px))
        weight_bk = corrupted_bk.float()
        if self.ignore_outside:
            weight_bk = weight_bk * inside_window(points_bk2, split.edge_nk[rows_b], frame, self.flip_k)
        return Batch(cells_bk2, points_bk2, weight_bk, {})
