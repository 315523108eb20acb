"""A network and all that moves its weights: one training step after another.

Shape letters: b images, k points, h rows, w columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from rcn_search.config.schema import AugmentConfig, TrainConfig
from rcn_search.data.dataset import Split
from rcn_search.keypoints import KeypointSchema
from rcn_search.models import build_model
from rcn_search.training.checkpoint import load_optimizers, load_weights, network_tensors, optimizer_tensors
from rcn_search.training.compute_probe import ComputeSettings
from rcn_search.training.denoising import DenoisingTask
from rcn_search.training.distributed import SINGLE_PROCESS, DistributedContext
from rcn_search.training.loss import training_loss
from rcn_search.training.optim import MovingAverage, build_optimizers, learning_rate
from rcn_search.training.task import LocalizationTask, Task
from rcn_search.training.tcdcn_task_stopping import TaskStopping


class TrainState:
    """Network, optimiser and moving average of a run, on its device.

    Attributes:
        num_steps: Of the whole run.
        steps_done: Behind it.
        lr: Learning rate of the last step.
    """

    def __init__(
        self,
        config: TrainConfig,
        split: Split,
        schema: KeypointSchema,
        settings: ComputeSettings,
        *,
        num_steps: int,
        distributed: DistributedContext = SINGLE_PROCESS,
    ) -> None:
        self.config, self.split, self.settings, self.num_steps = config, split, settings, num_steps
        self.distributed = distributed
        self.num_steps_done = 0
        self.lr = config.optimizer.lr
        self.task = build_task(config, split, schema, config.augment)
        self.task_stopping = TaskStopping(config.model, distributed)
        network = build_model(
            config.model,
            num_points=schema.num_points,
            input_px=config.input.size_px,
            in_channels=config.input.channels,
            seed=config.seed,
        )
        self.network = network.place(settings.device, settings.memory_format)
        self._trained = distributed.wrap_network(self.network, some_unused=config.model.name == "tcdcn")
        self.optimizers = build_optimizers(self.network, config.optimizer)
        decay = config.schedule.ema_decay
        self.average = MovingAverage(self.network, decay) if decay else None

    def train_step(self, rows_b: Tensor, draws_bd: Tensor, batch_size: int | None = None) -> Tensor:
        """Train on the given rows of the split, by their draws.

        Args:
            rows_b: This worker's part of the batch, which may be empty.
            draws_bd: See `Task`.
            batch_size: Of all workers; by default these rows are the batch.

        Returns:
            This worker's share of the loss, still on the device.
        """
        config, num_images = self.config, len(rows_b)
        if not num_images:  # the others wait for its gradients: those of any image, which weighs nothing
            rows_b, draws_bd = rows_b.new_zeros(1), draws_bd.new_zeros(1, draws_bd.shape[1])
        batch = self.task.make_batch(rows_b, draws_bd)
        share = self.distributed.loss_share(num_images, batch_size or num_images, batch.weight_bk)
        self.lr = learning_rate(self.num_steps_done, self.num_steps, config.optimizer, config.schedule)
        with self.settings.autocast():
            output = self._trained(self.settings.to_memory_format(batch.inputs))
        attributes = self.task_stopping.active_attributes(batch.attributes)
        loss = training_loss(config, output, batch.points_bk2, attributes, batch.weight_bk, share)
        self.task_stopping.record_step(output, attributes, share)
        self.distributed.backward(loss)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.lr
            optimizer.step()
        self.network.zero_grad()
        if self.average:
            self.average.update(self.network, self.num_steps_done)
        self.num_steps_done += 1
        return loss.detach()

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Within: the network has its averaged weights, if there is an average, and is in evaluation mode."""
        own = [parameter.detach().clone() for parameter in self.network.parameters()] if self.average else []
        with torch.no_grad():
            if self.average:
                torch._foreach_copy_(list(self.network.parameters()), self.average.weights)
            self.network.eval()
            yield
            self.network.train()
            if self.average:
                torch._foreach_copy_(list(self.network.parameters()), own)

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resumed learner needs, but ``steps_done``."""
        average = {f"average.{i}": weight for i, weight in enumerate(self.average.weights)} if self.average else {}
        return {**network_tensors(self.network), **optimizer_tensors(self.optimizers), **average}

    def load(self, tensors: dict[str, Tensor], steps_done: int, uri: str) -> None:
        """Take up the state of a checkpoint.

        Raises:
            CheckpointError: It is of another model.
        """
        load_weights(self.network, tensors, uri)
        load_optimizers(self.optimizers, tensors)
        if self.average:
            with torch.no_grad():
                for i, weight in enumerate(self.average.weights):
                    weight.copy_(tensors[f"average.{i}"])
        self.num_steps_done = steps_done


def build_task(config: TrainConfig, split: Split, schema: KeypointSchema, augment: AugmentConfig) -> Task:
    """What the model of a configuration learns.

    Raises:
        RcnSearchError: The data set lacks what the task needs.
    """
    kind = DenoisingTask if config.model.name == "denoiser" else LocalizationTask
    return kind(config, split, schema, augment)


def steps_per_epoch(config: TrainConfig, num_train: int) -> int:
    """Batches of an epoch, the last one holding what is left."""
    return math.ceil(num_train / config.schedule.batch_size)
