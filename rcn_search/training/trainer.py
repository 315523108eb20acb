"""Train a run epoch by epoch; it can be stopped and resumed at any step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Literal

import torch

from rcn_search import storage
from rcn_search.config.network_target import allow_network
from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import Dataset, epoch_batches, epoch_rows, num_rows_used, open_dataset
from rcn_search.data.drawn_faces import training_faces
from rcn_search.keypoint_schemas.document import schema_document
from rcn_search.training.checkpoint import Checkpoint, CheckpointInfo, network_tensors
from rcn_search.training.compute_probe import resolve_device, resolve_settings
from rcn_search.training.distributed import SINGLE_PROCESS, DistributedContext
from rcn_search.training.epoch_report import EpochReport
from rcn_search.training.exit_status import LAST_NAME, Interrupted, TrainingFailed, epoch_checkpoint_name, finite_loss
from rcn_search.training.history import PART_EPOCHS, num_parts
from rcn_search.training.memory import keep_freed_memory_in_process
from rcn_search.training.preconditions import check_requirements
from rcn_search.training.run_folder import claim_run_folder, load_resumable_run
from rcn_search.training.run_saver import RunSaver
from rcn_search.training.run_state import read_run_history, read_run_state
from rcn_search.training.start_weights import StartWeights, read_start_weights
from rcn_search.training.state import TrainState, steps_per_epoch
from rcn_search.training.validation import Validator

_STEPS_BETWEEN_STOP_CHECKS = 8
"""Several workers compare ``should_stop`` only after so many steps, because that takes time."""


class Trainer:
    """Trains a run and writes its folder: config.json, history.json, last.safetensors and best.safetensors.

    The run is saved after an epoch if the last save is ``checkpoint.every_s`` old, and at the end.
    """

    def __init__(
        self,
        config: TrainConfig,
        out: str,
        *,
        resume: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
        on_step: Callable[[int, int], None] = lambda step, num_steps: None,
        on_probe: Callable[[int], None] = lambda num_candidates: None,
        distributed: DistributedContext = SINGLE_PROCESS,
    ) -> None:
        """Prepare a new run, or restore one from its last checkpoint; arguments and errors are those of `train`.

        ``on_probe`` is called with the number of compute options that are about to be timed, if any must be.
        With several workers ``should_stop`` is called after every few steps only. Any number of workers can resume it.
        """
        self.config, self.out, self.distributed = config, storage.absolute(out), distributed
        allow_network(config.model)
        self.should_stop, self.on_step = should_stop, on_step
        dataset = open_dataset(config.data.uri)
        check_requirements(config, dataset.manifest, distributed.world_size)
        self.schema = dataset.manifest.keypoint_schema
        self._fingerprint, self._crop_px = dataset.manifest.fingerprint, dataset.manifest.crop_px
        self._schema_document, self._license = schema_document(self.schema), dataset.manifest.license
        self._training_faces, self._train_split = training_faces(config, dataset)
        self._num_train = num_rows_used(self._training_faces.manifest, self._train_split, config.data.num_train)
        num_val = num_rows_used(dataset.manifest, config.data.val_split, config.data.num_val)
        self.steps_per_epoch = steps_per_epoch(config, self._num_train)
        checkpoint = load_resumable_run(self.out, config, self._fingerprint, distributed, resume=resume)
        self._num_steps = config.schedule.epochs * self.steps_per_epoch
        num_points = self.schema.num_points
        self.settings = resolve_settings(config, num_points, checkpoint, distributed, on_probe, self._num_steps)
        resolve_device(self.settings.device)  # fails early if it cannot be used
        torch.set_num_threads(self.settings.threads)
        keep_freed_memory_in_process()
        # A run that is resumed has them in its own weights.
        self.start = (
            StartWeights({}, checkpoint.info.start_history) if checkpoint else read_start_weights(config, self.schema)
        )
        self._load_data(dataset, num_val)
        self.history: list[EpochReport] = []
        self._partial_loss = 0.0  # sum over the steps of an epoch that was interrupted
        self._partial_s = self._epochs_s = 0.0
        self._is_between_steps = False  # whether the state has changed since the last save, and can be saved
        num_parts_saved = self._restore(checkpoint) if checkpoint else 0
        if not checkpoint and config.compute.recombination == "auto":
            self.state.compare_forms()
        self._saver = RunSaver(self.out, config.checkpoint.every_s, num_parts_saved)
        claim_run_folder(self.out, config, distributed, resume=resume)

    def _load_data(self, dataset: Dataset, num_val: int) -> None:
        """Load both splits, and create what works on them: the training state and the validator."""
        config, data = self.config, self.config.data
        train_split = self._training_faces.split(self._train_split, self.settings.device)
        self._class_n = train_split.attributes[data.balance_by] if data.balance_by else None
        self.state = TrainState(
            config,
            train_split,
            self.schema,
            self.settings,
            num_steps=self._num_steps,
            start=self.start,
            distributed=self.distributed,
        )
        val_split = dataset.split(data.val_split, self.settings.device)
        self.validator = Validator(config, val_split, num_val, self.schema, self.distributed)

    def _restore(self, checkpoint: Checkpoint) -> int:
        """Restore the run from its checkpoint; return the number of parts of its history that are saved."""
        uri = storage.join(self.out, LAST_NAME)
        state = read_run_state(uri, checkpoint.info)
        self.history = read_run_history(self.out, uri, state, state.steps_done // self.steps_per_epoch)
        self._epochs_s = sum(report.train_s + report.val_s for report in self.history)
        self.state.load(checkpoint.tensors, state.steps_done, uri)
        self._partial_loss = state.partial_loss if self.distributed.is_first else 0.0
        self._partial_s = state.partial_s
        self.state.task_stopping.load_state(state.task_stopping, self.settings.device)
        return state.num_parts

    @property
    def num_epochs_done(self) -> int:
        """Number of complete epochs."""
        return len(self.history)

    @property
    def is_done(self) -> bool:
        """Whether all epochs of the schedule are complete."""
        return self.num_epochs_done >= self.config.schedule.epochs

    @property
    def num_params(self) -> int:
        """Number of parameters of the network."""
        return sum(parameter.numel() for parameter in self.state.network.parameters())

    @property
    def best_error_pct(self) -> float | None:
        """Lowest validation error so far, in percent."""
        return self.history[-1].best_error_pct if self.history else None

    @property
    def busy_s(self) -> float:
        """Time spent on training steps and validation so far, in seconds."""
        return self._epochs_s + self._partial_s

    def train(self, on_epoch: Callable[[EpochReport], None] = lambda report: None) -> None:
        """Train all remaining epochs, and call ``on_epoch`` after each. Errors are those of `train`."""
        while not self.is_done:
            try:
                report = self.train_epoch()
            except TrainingFailed:
                self.close()
                raise
            self.save_if_due()
            on_epoch(report)
            if self.distributed.any_rank(self.should_stop()) and not self.is_done:
                self.close()
                raise Interrupted(f"stopped after epoch {report.epoch}")

    def train_epoch(self) -> EpochReport:
        """Train to the end of the epoch, validate, and keep the best weights. Errors are those of `train`."""
        self._saver.raise_if_failed()
        self._is_between_steps = False
        schedule, seed, device = self.config.schedule, self.config.seed, self.settings.device
        epoch = self.num_epochs_done
        batches = epoch_batches(
            self._num_train,
            schedule.batch_size,
            seed=seed,
            epoch=epoch,
            reshuffle=schedule.reshuffle,
            rank=self.distributed.rank,
            num_ranks=self.distributed.world_size,
        )
        # All of the epoch's order and draws go to the device at once: each copy to a GPU would wait for it.
        order_n, num_images_of = torch.cat(batches).to(device), [len(index_b) for index_b in batches]
        rows = epoch_rows(self._num_train, self._class_n, seed=seed, epoch=epoch).to(device)[order_n]
        draws = self.state.task.random_draws(self._num_train, seed=seed, epoch=epoch)[order_n]
        rows_of, draws_of = rows.split(num_images_of), draws.split(num_images_of)
        loss_sum = torch.tensor(self._partial_loss, device=device, dtype=torch.float64)
        before_s, num_images, started = self._partial_s, 0, time.perf_counter()
        for step in range(self.state.num_steps_done - epoch * self.steps_per_epoch, len(batches)):
            batch_size = min(schedule.batch_size, self._num_train - step * schedule.batch_size)
            loss_sum += self.state.train_step(rows_of[step], draws_of[step], batch_size)
            num_images += batch_size
            self.on_step(step + 1, len(batches))
            if self._is_stop_requested(step) and step + 1 < len(batches):
                self._partial_loss = finite_loss(float(self.distributed.all_reduce_sum(loss_sum)), epoch + 1)
                self._partial_s = before_s + time.perf_counter() - started
                self._is_between_steps = True
                self.close()
                raise Interrupted(f"stopped after {step + 1} of {len(batches)} steps of epoch {epoch + 1}")
        loss = finite_loss(float(self.distributed.all_reduce_sum(loss_sum)), epoch + 1) / len(batches)
        train_s = time.perf_counter() - started
        error_pct, best_pct, val_s = self._validate(epoch + 1)
        report = EpochReport(
            epoch=epoch + 1,
            loss=loss,
            val_error_pct=error_pct,
            best_error_pct=best_pct,
            images_per_s=num_images / max(train_s, 1e-9),
            train_s=before_s + train_s,
            val_s=val_s,
            lr=self.state.lr,
        )
        self.history.append(report)
        self._epochs_s += report.train_s + report.val_s
        self._partial_loss = self._partial_s = 0.0
        self._is_between_steps = True
        return report

    def _is_stop_requested(self, step: int) -> bool:
        if self.distributed.world_size > 1 and step % _STEPS_BETWEEN_STOP_CHECKS:
            return False
        return self.distributed.any_rank(self.should_stop())

    def _validate(self, epoch: int) -> tuple[float | None, float | None, float]:
        """Validate if it is time to; return the error, the lowest error so far (both in percent) and the time."""
        best_pct = self.best_error_pct
        if epoch % self.config.validation.every_epochs and epoch != self.config.schedule.epochs:
            return None, best_pct, 0.0
        started = time.perf_counter()
        with self.state.averaged_weights():
            error_pct = self.validator.error_pct(self.state.network)
            if not math.isfinite(error_pct):
                raise TrainingFailed(f"the validation error became {error_pct} in epoch {epoch}")
            is_best = best_pct is None or error_pct < best_pct
            best_pct = error_pct if best_pct is None else min(best_pct, error_pct)
            saves_every = self.config.validation.save == "every"
            if self.distributed.is_first and (is_best or saves_every):
                weights = self._checkpoint_info("weights", epoch, error_pct, {}), network_tensors(self.state.network)
                if saves_every:
                    self._saver.write_weights(epoch_checkpoint_name(epoch), *weights)
                if is_best:
                    self._saver.keep_best(*weights)
            if self.state.task_stopping.threshold is not None:
                self.state.task_stopping.end_epoch(epoch, self.validator.attribute_errors(self.state.network))
        return error_pct, best_pct, time.perf_counter() - started

    def save_if_due(self) -> None:
        """Save after the last epoch, or if it is time."""
        if self.is_done or self._saver.is_due:
            self.save()

    def close(self) -> None:
        """Save what is not saved; of an epoch that failed, the best weights before it alone. Wait for uploads."""
        if self._is_between_steps:
            self.save()
        elif self.distributed.is_first:
            self._saver.write_best()
        self.flush()

    def save(self) -> None:
        """Write history.json and last.safetensors, from which the run is resumed with bit-identical results.

        With a remote ``out``, worker 0 uploads them in the background, except after the last epoch (`AsyncUploads`).
        """
        self._is_between_steps = False
        if not self.distributed.is_first:
            return
        rest = self.history[num_parts(self.num_epochs_done) * PART_EPOCHS :]
        state = {
            "settings": self.state.settings.model_dump(),
            "num_workers": self.distributed.world_size,
            "steps_done": self.state.num_steps_done,
            "partial_loss": self._partial_loss,
            "partial_s": self._partial_s,
            "task_stopping": self.state.task_stopping.state().model_dump(),
            "history": [report.model_dump() for report in rest],
        }
        error_pct = self.history[-1].val_error_pct if self.history else None
        info = self._checkpoint_info("run", self.num_epochs_done, error_pct, state)
        self._saver.save(info, self.state.tensors(), self.history)
        if self.is_done:
            self.flush()

    def _checkpoint_info(
        self, kind: Literal["weights", "run"], epoch: int, error_pct: float | None, state: dict[str, Any]
    ) -> CheckpointInfo:
        return CheckpointInfo(
            kind=kind,
            config=self.config,
            keypoints=self.schema.name,
            schema_document=self._schema_document,
            crop_px=self._crop_px,
            data_fingerprint=self._fingerprint,
            data_license=self._license,
            start_history=self.start.history,
            epoch=epoch,
            val_error_pct=error_pct,
            train_s=self.busy_s,
            state=state,
        )

    def flush(self) -> None:
        """Wait until all saved files are uploaded; an upload that failed raises `OSError`."""
        self._saver.flush()
