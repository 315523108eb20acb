"""State of a training run: network, optimizers and moving average, advanced one step at a time.

Shape letters: b images, k points, h rows, w columns.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import Split
from rcn_search.keypoints import KeypointSchema
from rcn_search.models import build_model
from rcn_search.models.blocks import set_recombination_forms
from rcn_search.models.custom import CustomNetwork, check_output
from rcn_search.models.tcdcn import TcdcnOutput
from rcn_search.training.checkpoint import (
    CheckpointError,
    load_optimizers,
    load_weights,
    network_tensors,
    optimizer_tensors,
)
from rcn_search.training.compute_settings import ComputeSettings
from rcn_search.training.distributed import SINGLE_PROCESS, DistributedContext
from rcn_search.training.loss import LossShare, training_loss
from rcn_search.training.optim import MovingAverage, build_optimizers, layer_lr_scales, learning_rate, set_learning_rate
from rcn_search.training.recombination_probe import FormsInTurn
from rcn_search.training.start_weights import NO_START, StartWeights
from rcn_search.training.static_step import StaticStep
from rcn_search.training.task import Batch, build_task
from rcn_search.training.tcdcn_task_stopping import TaskStopping

_NETWORK_STREAM = 3  # independent of augmentation, order and corruption (streams 0 to 2)


class TrainState:
    """Network, optimizers and moving average of a run, on its device."""

    def __init__(
        self,
        config: TrainConfig,
        split: Split,
        schema: KeypointSchema,
        settings: ComputeSettings,
        *,
        num_steps: int,
        start: StartWeights = NO_START,
        distributed: DistributedContext = SINGLE_PROCESS,
    ) -> None:
        self.config, self.split, self.settings, self.distributed = config, split, settings, distributed
        self.num_steps, self.num_steps_done = num_steps, 0
        self.lr = config.optimizer.lr  # of the last step
        self.task = build_task(config, split, schema, config.augment)
        self.task_stopping = TaskStopping(config.model, distributed)
        size_px, channels = config.input.size_px, config.input.channels
        network = build_model(
            config.model, num_points=schema.num_points, input_px=size_px, in_channels=channels, seed=config.seed
        )
        start.copy_into(network)
        self.network = network.to_device(settings.device, settings.memory_format)
        if isinstance(self.network, CustomNetwork):
            check_output(self.network)
        set_recombination_forms(self.network, settings.recombination)
        self._forms_in_turn: FormsInTurn | None = None
        some_unused = config.model.name in ("tcdcn", "custom", "timm")
        self._trained = distributed.wrap_network(self.network, some_unused=some_unused)
        decay = config.init.layer_lr_decay if config.init else 1.0
        lr_scales = layer_lr_scales(self.network, decay, start.new_names)
        is_static = settings.step != "eager"
        self.optimizers = build_optimizers(self.network, config.optimizer, lr_scales, on_device=is_static)
        decay = config.schedule.ema_decay
        self.average = MovingAverage(self.network, decay, on_device=is_static) if decay else None
        self._static_step = StaticStep(self._whole_step, torch.device(settings.device)) if is_static else None
        self._learn = torch.compile(self._forward, dynamic=False) if settings.step == "compiled" else self._forward

    def train_step(self, rows_b: Tensor, draws_bd: Tensor, batch_size: int | None = None) -> Tensor:
        """Train on the given rows of the split; return this worker's share of the loss, on the device.

        The rows are this worker's part of the batch, which may be empty. ``batch_size`` is the number of images of all
        workers, by default the number of rows.
        """
        config = self.config
        self.lr = learning_rate(self.num_steps_done, self.num_steps, config.optimizer, config.schedule)
        set_learning_rate(self.optimizers, self.lr)
        if self.average:
            self.average.begin_step(self.num_steps_done)
        started = time.perf_counter()
        if self._forms_in_turn:
            self._forms_in_turn.begin_step()
        if self._static_step:
            loss = self._static_step(rows_b, draws_bd, tuple(self.task_stopping.dropped))
        else:
            loss = self._whole_step(rows_b, draws_bd, batch_size)
        if self._forms_in_turn:
            self._end_turn(self._forms_in_turn, time.perf_counter() - started)
        self.task_stopping.count_step()
        self.num_steps_done += 1
        return loss

    def compare_forms(self) -> None:
        """Compare measured forms of recombinations with the usual ones in the next steps, and keep the faster ones.

        A GPU is not compared, whose steps are not waited for; there the probe measures the run's own batch.
        """
        is_possible = self.settings.device == "cpu" and self.distributed.world_size == 1 and not self._static_step
        if self.settings.recombination and is_possible:
            self._forms_in_turn = FormsInTurn(self.network, self.settings.recombination)

    def _end_turn(self, forms_in_turn: FormsInTurn, step_s: float) -> None:
        forms_in_turn.end_step(step_s)
        if forms_in_turn.is_done:
            self.settings = self.settings.model_copy(update={"recombination": forms_in_turn.keep_fastest()})
            self._forms_in_turn = None

    def _whole_step(self, rows_b: Tensor, draws_bd: Tensor, batch_size: int | None = None) -> Tensor:
        """Do what the device does in `train_step`: shapes depend on arguments alone, and nothing is read back."""
        num_images = len(rows_b)
        if not num_images:  # the other workers wait for gradients, so this one trains on an image of weight zero
            rows_b, draws_bd = rows_b.new_zeros(1), draws_bd.new_zeros(1, draws_bd.shape[1])
        batch = self.task.make_batch(rows_b, draws_bd)
        batch = batch._replace(attributes=self.task_stopping.active_attributes(batch.attributes))
        share = self.distributed.loss_share(num_images, batch_size or num_images, batch.weight_bk)
        output, loss = self._learn(batch, share)
        self.task_stopping.record_step(output, batch.attributes, share)
        self.distributed.backward(loss)
        for optimizer in self.optimizers:
            optimizer.step()
        self.network.zero_grad()
        if self.average:
            self.average.update(self.network)
        return loss.detach()

    def _forward(self, batch: Batch, share: LossShare) -> tuple[Tensor | TcdcnOutput, Tensor]:
        with self.settings.autocast(), self._seeded():
            output = self._trained(self.settings.to_memory_format(batch.inputs))
        return output, training_loss(self.config, output, batch.points_bk2, batch.attributes, batch.weight_bk, share)

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Within this context the random numbers of a custom network depend on seed, step and worker alone."""
        if not isinstance(self.network, CustomNetwork):
            yield
            return
        device = torch.device(self.settings.device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            seeds = [self.config.seed, self.num_steps_done, self.distributed.rank, _NETWORK_STREAM]
            torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] >> 1))
            yield

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Within this context the network is in evaluation mode and has its averaged weights, if any."""
        trained = [parameter.detach().clone() for parameter in self.network.parameters()] if self.average else []
        with torch.no_grad():
            if self.average:
                torch._foreach_copy_(list(self.network.parameters()), self.average.weights)
            self.network.eval()
            yield
            self.network.train()
            if self.average:
                torch._foreach_copy_(list(self.network.parameters()), trained)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that a resumed run needs."""
        average = {f"average.{i}": weight for i, weight in enumerate(self.average.weights)} if self.average else {}
        return {**network_tensors(self.network), **optimizer_tensors(self.optimizers), **average}

    def load(self, tensors: dict[str, Tensor], num_steps_done: int, uri: str) -> None:
        """Restore the tensors of the checkpoint at ``uri``; CheckpointError if some are missing or do not fit."""
        load_weights(self.network, tensors, uri)
        load_optimizers(self.optimizers, tensors, uri)
        if num_steps_done and not any(name.startswith("optim.") for name in tensors):
            raise CheckpointError(f"{uri} is damaged: it has no state of the optimizer after {num_steps_done:,} steps")
        if self.average:
            with torch.no_grad():
                for i, weight in enumerate(self.average.weights):
                    average = tensors.get(f"average.{i}")
                    if average is None or average.shape != weight.shape:
                        raise CheckpointError(f"{uri} is damaged: it has no moving average of weight {i}")
                    weight.copy_(average)
        self.num_steps_done = num_steps_done


def steps_per_epoch(config: TrainConfig, num_train: int) -> int:
    """Number of steps of an epoch, of which the last one may have a smaller batch."""
    return math.ceil(num_train / config.schedule.batch_size)
