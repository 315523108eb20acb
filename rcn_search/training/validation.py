"""The validation error that selects epochs and trials: the paper's, on the grid of the network input (rcn.md 6, 8)."""

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
from rcn_search.training.state import build_task
from rcn_search.training.task import Batch

BATCH_SIZE = 64
"""Fixed, because under the paper's batch-wide contrast threshold an image's result depends on its batch."""
_JITTER_SEED = 0


class Validator:
    """The validation images of a run, prepared once: jittered and occluded by a fixed seed, or plain.

    Each worker looks at whole batches of its own; what comes out is of all images, the same for each of them.
    """

    def __init__(
        self, config: TrainConfig, split: Split, num_rows: int, schema: KeypointSchema, workers: DistributedContext = SINGLE_PROCESS
    ) -> None:
        self._workers, self._attributes = workers, sorted(split.attributes)
        augment = config.augment.model_copy(update={"flip": 0.0}) if config.validation.augment else NO_AUGMENTATION
        task = build_task(config, split, schema, augment)
        draws = task.random_draws(num_rows, seed=_JITTER_SEED, epoch=0)
        rows = torch.arange(num_rows, device=draws.device)
        self.size_px, self.decoder = config.input.size_px, default_decoder(config.loss.name)
        self.left, self.right = (list(group) for group in schema.normalizers["eye_centers"])
        self._rows_n = rows
        self._parts = rows.split(BATCH_SIZE)[workers.rank :: workers.world_size]
        self.batches: list[Batch] = [task.make_batch(part, draws[part]) for part in self._parts]

    @torch.inference_mode()
    def error_pct(self, network: Network) -> float:
        """Mean over images of `image_errors`, in percent."""
        error_n, counts_n = self.image_errors(network)
        return 100 * float(error_n[counts_n].mean())

    @torch.inference_mode()
    def image_errors(self, network: Network) -> tuple[Tensor, Tensor]:
        """Of each image the mean distance between predicted and true cells, as a share of the eye distance.

        Points that are not in the loss are not in the mean either. In fp32: with bf16 maps, equal peaks move the
        prediction by a pixel.

        Returns:
            (n,) errors, and (n,) whether the image has a point that counts.
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
        return self._workers.all_reduce_sum(error_n), self._workers.all_reduce_sum(counts_n).bool()

    def eye_distance_px(self, points_bk2: Tensor) -> Tensor:
        """(b,), of the jittered face, unclamped."""
        between_b2: Tensor = points_bk2[:, self.left].mean(1) - points_bk2[:, self.right].mean(1)
        distance_b: Tensor = torch.linalg.vector_norm(between_b2, dim=1) * self.size_px
        return distance_b

    @torch.inference_mode()
    def attribute_errors(self, network: Network) -> dict[str, float]:
        """Mean cross-entropy of each attribute of the data set; 0 of one that the network does not predict."""
        sums = torch.zeros(len(self._attributes), dtype=torch.float64)
        for batch in self.batches:
            output = network(batch.inputs)
            if not isinstance(output, Tensor):
                for name, cross_entropy in attribute_losses(output, batch.attributes).items():
                    sums[self._attributes.index(name)] += float(cross_entropy) * len(batch.points_bk2)
        means = self._workers.all_reduce_sum(sums) / len(self._rows_n)
        return dict(zip(self._attributes, means.tolist(), strict=True))
