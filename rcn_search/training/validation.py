"""Validation error that selects epochs and trials, on the pixel grid of the network input.

The definition is in docs/explanation/model-specification.md, "Metric". Shape letters: b images of a batch, k points,
n images of the split.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rcn_search.config.images import PhotometricConfig
from rcn_search.config.schema import TrainConfig
from rcn_search.data.augment import NO_AUGMENTATION
from rcn_search.data.dataset import Split
from rcn_search.errors import RcnSearchError
from rcn_search.keypoints import KeypointSchema
from rcn_search.models.blocks import Network
from rcn_search.models.decode import default_decoder, point_cells, predicted_cells
from rcn_search.training.distributed import SINGLE_PROCESS, DistributedContext
from rcn_search.training.loss import attribute_losses
from rcn_search.training.task import Batch, build_task

BATCH_SIZE = 64
"""Fixed, because with ``input.contrast_normalization: batch`` the result of an image depends on its batch."""
MIN_NORMALIZER_PX = 1.0  # as in `rcn_search.evaluation.metrics`
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
        jittered = config.augment.model_copy(update={"flip": 0.0, "photometric": PhotometricConfig()})
        augment = jittered if config.validation.augment else NO_AUGMENTATION
        task = build_task(config, split, schema, augment)
        draws = task.random_draws(num_rows, seed=_AUGMENTATION_SEED, epoch=0)
        self.size_px, self.decoder = config.input.size_px, default_decoder(config.loss.name)
        self.normalizer = schema.default_normalizer
        self._ends = schema.normalizers.get(self.normalizer)
        self._rows_n = torch.arange(num_rows, device=draws.device)
        self._parts = self._rows_n.split(BATCH_SIZE)[distributed.rank :: distributed.world_size]
        self.batches: list[Batch] = [task.make_batch(part, draws[part]) for part in self._parts]

    @torch.inference_mode()
    def error_pct(self, network: Network) -> float:
        """Compute the mean of `image_errors` over the images that count, in percent.

        Raises:
            RcnSearchError: No image counts.
        """
        error_n, counts_n = self.image_errors(network)
        if not counts_n.any():
            raise RcnSearchError(
                f"none of the {len(counts_n):,} validation images has a labeled point and a length of the normalizer "
                f"{self.normalizer!r}; list another normalizer first in the keypoint schema"
            )
        return 100 * float(error_n[counts_n].mean())

    @torch.inference_mode()
    def image_errors(self, network: Network) -> tuple[Tensor, Tensor]:
        """Compute each image's mean distance between predicted and true cells, divided by its normalizer: (n,).

        The normalizer is the schema's default. Points that do not count in the loss do not count here; the second
        tensor (n,) tells which images have one that counts, and a normalizer of at least 1 pixel. Networks run in fp32,
        because equal maxima in bf16 maps would move predictions by a pixel.
        """
        error_n = torch.zeros_like(self._rows_n, dtype=torch.float32)
        counts_n = torch.zeros_like(self._rows_n, dtype=torch.uint8)
        for part, batch in zip(self._parts, self.batches, strict=True):
            cells_bk2 = predicted_cells(network(batch.inputs), self.size_px, self.decoder)
            distance_bk = (cells_bk2 - point_cells(batch.points_bk2, self.size_px)).float().norm(dim=2)
            weight_bk = torch.ones_like(distance_bk) if batch.weight_bk is None else batch.weight_bk
            length_b = self.normalizer_px(batch)
            counts_n[part] = (weight_bk.any(1) & (length_b >= MIN_NORMALIZER_PX)).byte()
            mean_b = (distance_bk * weight_bk).sum(1) / weight_bk.sum(1)
            error_n[part] = mean_b / length_b
        error_n[counts_n == 0] = 0.0  # not NaN, which a sum over workers would keep
        return self._distributed.all_reduce_sum(error_n), self._distributed.all_reduce_sum(counts_n).bool()

    def normalizer_px(self, batch: Batch) -> Tensor:
        """Length (b,) of the normalizer in input pixels, from unclamped points; NaN if a point of it is not labeled."""
        points_bk2, labeled_bk = batch.points_bk2, batch.labeled_bk
        if self._ends is None:  # the schema names no normalizer: sqrt(w h) of the box of all labeled points
            is_missing_bk1 = torch.zeros_like(points_bk2[..., :1], dtype=torch.bool)
            if labeled_bk is not None:
                is_missing_bk1 = ~labeled_bk[..., None]
            low_b2 = points_bk2.masked_fill(is_missing_bk1, torch.inf).amin(1)
            high_b2 = points_bk2.masked_fill(is_missing_bk1, -torch.inf).amax(1)
            length_b: Tensor = (high_b2 - low_b2).prod(1).sqrt() * self.size_px
            return length_b
        if labeled_bk is not None:
            points_bk2 = points_bk2.masked_fill(~labeled_bk[..., None], torch.nan)
        first, second = (list(group) for group in self._ends)
        between_b2: Tensor = points_bk2[:, first].mean(1) - points_bk2[:, second].mean(1)
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
