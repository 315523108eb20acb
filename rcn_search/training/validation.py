"""The validation error that selects epochs and trials: the paper's, on the grid of the network input (rcn.md 6, 8)."""

from __future__ import annotations

import torch
from torch import Tensor

from rcn_search.config import TrainConfig
from rcn_search.data.augment import NO_JITTER, InputPipeline, draw_table
from rcn_search.data.dataset import Split
from rcn_search.keypoints import KeypointSchema
from rcn_search.models.blocks import Network
from rcn_search.models.decode import point_cells, predicted_cells

BATCH_SIZE = 64
"""Fixed, because under the paper's batch-wide contrast threshold an image's result depends on its batch."""
_JITTER_SEED = 0


class Validator:
    """The validation images of a run, prepared once: jittered and occluded by a fixed seed, or plain."""

    def __init__(self, config: TrainConfig, split: Split, num_rows: int, schema: KeypointSchema) -> None:
        augment = config.augment.model_copy(update={"flip": 0.0}) if config.validation.jitter else NO_JITTER
        pipeline = InputPipeline(input=config.input, augment=augment)
        device = split.points_nk2.device
        draws = draw_table(num_rows, seed=_JITTER_SEED, epoch=0).to(device)
        left, right = (list(group) for group in schema.normalisers["eye_centres"])
        self.size_px = config.input.size_px
        self.batches: list[tuple[Tensor, Tensor, Tensor]] = []
        for rows in torch.arange(num_rows, device=device).split(BATCH_SIZE):
            image_b1hw, points_bk2 = pipeline(
                split.images_at(rows), split.points_nk2[rows], split.face_box_n4[rows], draws[rows]
            )
            ocular_b = (points_bk2[:, left].mean(1) - points_bk2[:, right].mean(1)).norm(dim=1) * self.size_px
            self.batches.append((image_b1hw, point_cells(points_bk2, self.size_px), ocular_b))

    @torch.inference_mode()
    def error_pct(self, network: Network) -> float:
        """Mean over images of the mean distance between predicted and true cells, in percent of the eye distance.

        In fp32: with bf16 maps, equal peaks move the prediction by a pixel.
        """
        per_image = []
        for image_b1hw, true_bk2, ocular_b in self.batches:
            cells_bk2 = predicted_cells(network(image_b1hw), self.size_px)
            distance_bk = (cells_bk2 - true_bk2).float().norm(dim=2)
            per_image.append(distance_bk.mean(1) / ocular_b)
        return 100 * float(torch.cat(per_image).mean())
