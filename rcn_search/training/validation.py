"""Validation error that selects epochs and trials, on the pixel grid of the network input.

The definition is in docs/explanation/model-specification.md, "Metric". Shape letters: b images of a batch, k points,
n images of the split.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rcn_search.config.schema import TrainConfig
from rcn_search.data.augment import NO_AUGMENTATION
from rcn_search.data.dataset import Split
from rcn_search.keypoints import KeypointSchema
from rcn_search.models.blocks import Network
from rcn_search.models.decode import default_decoder, point_cells, predicted_cells
from rcn_search.training.distributed import SINGLE_PROCESS, DistributedContext
from rcn_search.training.loss import attribute_losses
from rcn_search.training.task import Batch, build_task

BATCH_SIZE = 64
"""Fixed, because with ``input.contrast_normalization: batch`` the result of an image depends on its batch."""
_AUGMENTATION_SEED = 0


class Validator:
    """Validation images of a run, prepared once: augmented by a fixed seed, or as they are.

    Each worker evaluates some of the batches; the results are those of all images, and the same for each worker.
    """

    def __init__(
        self,
        config: TrainConfig,
        split: Split,
        num_rows: int,
        schema: KeypointSchema,
        distributed: DistributedContext = SINGLE_PROCESS,
    ) -> None:
        self._distributed, self._attributes = distributed, sorted(split.attributes)
        augment = config.augment.model_copy(update={"flip": 0.0}) if config.validation.augment else NO_AUGMENTATION
        task = build_task(config, split, schema, augment)
        draws = task.random_draws(num_rows, seed=_AUGMENTATION_SEED, epoch=0)
        self.size_px, self.decoder = config.input.size_px, default_decoder(config.loss.name)
        self.left, self.right = (list(group) for group in schema.normalizers["eye_centers"])
        self._rows_n = torch.arange(num_rows, device=draws.device)
        self._parts = self._rows_n.split(BATCH_SIZE)[distributed.rank :: distributed.world_size]
        self.batches: list[Batch] = [task.make_batch(part, draws[part]) for part in self._parts]

    @torch.inference_mode()
    def error_pct(self, network: Network) -> float:
        """Compute the mean of `image_errors` over the images, in percent."""
        error_n, counts_n = self.image_errors(network)
        return 100 * float(error_n[counts_n].mean())

    @torch.inference_mode()
    def image_errors(self, network: Network) -> tuple[Tensor, Tensor]:
        """Compute each image's mean distance between predicted and true cells, divided by the eye distance: (n,).

        Points that do not count in the loss do not count here; the second tensor (n,) tells which images have one that
        counts. Networks run in fp32, because equal maxima in bf16 maps would move predictions by a pixel.
        """
        error_n = torch.zeros_like(self._rows_n, dtype=torch.float32)
        counts_n = torch.zeros_like(self._rows_n, dtype=torch.uint8)
        for part, batch in zip(self._parts, self.batches, strict=True):
            cells_bk2 = predicted_cells(network(batch.inputs), self.size_px, self.decoder)
            distance_bk = (cells_bk2 - point_cells(batch.points_bk2, self.size_px)).float().norm(dim=2)
            weight_bk = torch.ones_like(distance_bk) if batch.weight_bk is None else batch.weight_bk
            counts_n[part] = weight_bk.any(1).byte()
            mean_b = (distance_bk * weight_bk).sum(1) / weight_bk.sum(1)
            error_n[part] = mean_b / self.eye_distance_px(batch.points_bk2)
        return self._distributed.all_reduce_sum(error_n), self._distributed.all_reduce_sum(counts_n).bool()

    def eye_distance_px(self, points_bk2: Tensor) -> Tensor:
        """Eye distance (b,) in input pixels, from unclamped points (b, k, 2) in window coordinates."""
        between_b2: Tensor = points_bk2[:, self.left].mean(1) - points_bk2[:, self.right].mean(1)
        distance_b: Tensor = torch.linalg.vector_norm(between_b2, dim=1) * self.size_px
        return distance_b

    @torch.inference_mode()
    def attribute_errors(self, network: Network) -> dict[str, float]:
        """Compute the mean cross-entropy of each attribute of the data set; 0 if the network does not predict it."""
        sums = torch.zeros(len(self._attributes), dtype=torch.float64)
        for batch in self.batches:
            output = network(batch.inputs)
            if not isinstance(output, Tensor):
                for name, cross_entropy in attribute_losses(output, batch.attributes).items():
                    sums[self._attributes.index(name)] += float(cross_entropy) * len(batch.points_bk2)
        means = self._distributed.all_reduce_sum(sums) / len(self._rows_n)
        return dict(zip(self._attributes, means.tolist(), strict=True))
