"""A training run and its files: advanced epoch by epoch, stopped and resumed at any step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch

from rcn_search import storage
from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import epoch_batches, epoch_rows, num_rows_used, open_dataset
from rcn_search.training.async_uploads import AsyncUploads
from rcn_search.training.checkpoint import Checkpoint, CheckpointInfo, checkpoint_bytes, network_tensors
from rcn_search.training.compute_probe import ComputeSettings, choose_settings, resolve_device
from rcn_search.training.distributed import SINGLE_PROCESS, DistributedContext
from rcn_search.training.epoch_report import EpochReport
from rcn_search.training.exit_status import BEST_NAME, HISTORY_NAME, LAST_NAME, Interrupted, TrainingFailed, epoch_checkpoint_name
from rcn_search.training.malloc import keep_freed_memory_in_process
from rcn_search.training.preconditions import check_requirements
from rcn_search.training.run_folder import claim_run_folder, load_resumable_run
from rcn_search.training.state import TrainState, steps_per_epoch
from rcn_search.training.tcdcn_task_stopping import StoppingState
from rcn_search.training.validation import Validator

_STEPS_BETWEEN_QUESTIONS = 8


class Trainer:
    """One run, its files at ``out``: config.json, history.json, last.safetensors and best.safetensors."""

    def __init__(
        self,
        config: TrainConfig,
        out: str,
        *,
        resume: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
        on_step: Callable[[int, int], None] = lambda step, num_steps: None,
        distributed: DistributedContext = SINGLE_PROCESS,
    ) -> None:
        """Build the run, or with ``resume`` take it up where its last checkpoint left it (from the start without one).

        Args:
            config: What to train.
            out: Folder or URI of the run.
            resume: Go on with the run that is there.
            should_stop: Asked after every step, of several workers after every few; if it says so the run is saved and
                raises `Interrupted`.
            on_step: Called after every step with (step of the epoch from 1, steps of an epoch).
            workers: All that train this run, of which this process is one; the first of them writes its files. It may
                be resumed by another number of them.

        Raises:
            RunExistsError: Without ``resume``: there is a run at ``out``. With it: that run is another one.
            DatasetError: The data set is missing or damaged, or has not what the configuration asks for.
            CheckpointError: The checkpoint to resume from is damaged.
            RcnSearchError: The requested device cannot be used, the input is too small for the model, or several workers
                cannot train as one does.
        """
        self.config, self.out, self.distributed = config, storage.absolute(out), distributed
        self.should_stop, self.on_step = should_stop, on_step
        self._uploads = AsyncUploads(self.out)
        dataset = open_dataset(config.data.uri)
        check_requirements(config, dataset.manifest, distributed.world_size)
        self.schema = dataset.manifest.keypoint_schema
        self.fingerprint = dataset.manifest.fingerprint
        self.num_train = num_rows_used(dataset.manifest, config.data.train_split, config.data.num_train)
        num_val = num_rows_used(dataset.manifest, config.data.val_split, config.data.num_val)
        self.steps_per_epoch = steps_per_epoch(config, self.num_train)
        saved = load_resumable_run(self.out, config, self.fingerprint, distributed, resume=resume)

        self.settings = self._settled(saved)
        resolve_device(self.settings.device)
        torch.set_num_threads(self.settings.threads)
        keep_freed_memory_in_process()
        train_split = dataset.split(config.data.train_split, self.settings.device)
        self._class_n = train_split.attributes[config.data.balance_by] if config.data.balance_by else None
        self.state = TrainState(
            config,
            train_split,
            self.schema,
            self.settings,
            num_steps=config.schedule.epochs * self.steps_per_epoch,
            distributed=distributed,
        )
        val_split = dataset.split(config.data.val_split, self.settings.device)
        self.validator = Validator(config, val_split, num_val, self.schema, distributed)
        self.history: list[EpochReport] = []
        self._partial_loss = 0.0  # sum over the steps of an epoch that was interrupted
        self._partial_s = 0.0
        if saved:
            state = saved.info.state
            self.state.load(saved.tensors, state["steps_done"], storage.join(self.out, LAST_NAME))
            self.history = [EpochReport.model_validate(report) for report in state["history"]]
            self._partial_loss = state["partial_loss"] if distributed.is_first else 0.0
            self._partial_s = state["partial_s"]
            stopping = StoppingState.model_validate(state.get("task_stopping", {}))
            self.state.task_stopping.load_state(stopping, self.settings.device)
        claim_run_folder(self.out, config, distributed, resume=resume)

    def _settled(self, saved: Checkpoint | None) -> ComputeSettings:
        """The compute options, the same for all workers; of a run that is resumed those that it had.

        Their threads are another matter where other workers train it now.
        """
        if saved and saved.info.state.get("num_workers", 1) == self.distributed.world_size:
            return ComputeSettings.model_validate(saved.info.state["settings"])
        config = self.config
        if saved:
            kept = ("precision", "channels_last")
            compute = config.compute.model_copy(update={name: saved.info.state["settings"][name] for name in kept})
            config = config.model_copy(update={"compute": compute})
        first = choose_settings(config, self.schema.num_points).model_dump_json() if self.distributed.is_first else ""
        return ComputeSettings.model_validate_json(self.distributed.broadcast_text(first))

    @property
    def num_epochs_done(self) -> int:
        """Whole epochs behind the run."""
        return len(self.history)

    @property
    def is_done(self) -> bool:
        """Whether every epoch of the schedule is behind the run."""
        return self.num_epochs_done >= self.config.schedule.epochs

    @property
    def num_params(self) -> int:
        """Parameters of the network."""
        return sum(parameter.numel() for parameter in self.state.network.parameters())

    @property
    def best_error_pct(self) -> float | None:
        """Lowest validation error so far."""
        return self.history[-1].best_error_pct if self.history else None

    @property
    def busy_s(self) -> float:
        """Time spent on training steps and validations so far."""
        return sum(report.train_s + report.val_s for report in self.history) + self._partial_s

    def train_epoch(self) -> EpochReport:
        """Train to the end of the epoch, validate, and keep the weights if they are the best so far.

        Raises:
            OSError: What was saved before could not be published.
            TrainingFailed: The loss or the validation error is not finite.
            Interrupted: ``should_stop`` said so; the run is saved.
        """
        self._uploads.raise_if_failed()
        epoch, schedule, device = self.num_epochs_done, self.config.schedule, self.settings.device
        batches = epoch_batches(
            self.num_train,
            schedule.batch_size,
            seed=self.config.seed,
            epoch=epoch,
            reshuffle=schedule.reshuffle,
            rank=self.distributed.rank,
            num_ranks=self.distributed.world_size,
        )
        epoch_row = epoch_rows(self.num_train, self._class_n, seed=self.config.seed, epoch=epoch).to(device)
        draws = self.state.task.random_draws(self.num_train, seed=self.config.seed, epoch=epoch)
        loss_sum = torch.tensor(self._partial_loss, device=device, dtype=torch.float64)
        before_s, num_images, started = self._partial_s, 0, time.perf_counter()
        for index in range(self.state.num_steps_done - epoch * self.steps_per_epoch, len(batches)):
            places = batches[index].to(device)
            batch_size = min(schedule.batch_size, self.num_train - index * schedule.batch_size)
            loss_sum += self.state.train_step(epoch_row[places], draws[places], batch_size)
            num_images += batch_size
            self.on_step(index + 1, len(batches))
            if self._asked_to_stop(index) and index + 1 < len(batches):
                self._partial_loss = _finite(float(self.distributed.all_reduce_sum(loss_sum)), epoch + 1)
                self._partial_s = before_s + time.perf_counter() - started
                self.save()
                self.flush()
                raise Interrupted(f"stopped after {index + 1} of {len(batches)} steps of epoch {epoch + 1}")
        loss = _finite(float(self.distributed.all_reduce_sum(loss_sum)), epoch + 1) / len(batches)
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
        self._partial_loss = self._partial_s = 0.0
        return report

    def _asked_to_stop(self, index: int) -> bool:
        """After a step, by its place in the epoch. Several workers ask each other after a few: that takes time."""
        if self.distributed.world_size > 1 and index % _STEPS_BETWEEN_QUESTIONS:
            return False
        return self.distributed.any_rank(self.should_stop())

    def _validate(self, epoch: int) -> tuple[float | None, float | None, float]:
        best_pct = self.best_error_pct
        if epoch % self.config.validation.every_epochs and epoch != self.config.schedule.epochs:
            return None, best_pct, 0.0
        started = time.perf_counter()
        with self.state.averaged_weights():
            error_pct = self.validator.error_pct(self.state.network)
            if not math.isfinite(error_pct):
                raise TrainingFailed(f"the validation error became {error_pct} in epoch {epoch}")
            kept = [epoch_checkpoint_name(epoch)] if self.config.validation.save == "every" else []
            if best_pct is None or error_pct < best_pct:
                best_pct = error_pct
                kept.append(BEST_NAME)
            for name in kept if self.distributed.is_first else ():
                info = self._info("weights", epoch, error_pct, {})
                content = checkpoint_bytes(info, network_tensors(self.state.network))
                self._uploads.add(storage.join(self.out, name), content)
            if self.state.task_stopping.threshold is not None:
                self.state.task_stopping.end_epoch(epoch, self.validator.attribute_errors(self.state.network))
        return error_pct, best_pct, time.perf_counter() - started

    def save(self) -> None:
        """Publish last.safetensors, from which the run goes on bit for bit, and history.json.

        In the background where ``out`` is remote, but for the end of the run. See `Uploads`. Of several workers the
        first one does it.

        Raises:
            OSError: They, or those before, could not be published.
        """
        if not self.distributed.is_first:
            return
        history = [report.model_dump() for report in self.history]
        state = {
            "settings": self.settings.model_dump(),
            "num_workers": self.distributed.world_size,
            "steps_done": self.state.num_steps_done,
            "partial_loss": self._partial_loss,
            "partial_s": self._partial_s,
            "task_stopping": self.state.task_stopping.state().model_dump(),
            "history": history,
        }
        error_pct = self.history[-1].val_error_pct if self.history else None
        info = self._info("run", self.num_epochs_done, error_pct, state)
        self._uploads.add(storage.join(self.out, LAST_NAME), checkpoint_bytes(info, self.state.tensors()))
        self._uploads.add(storage.join(self.out, HISTORY_NAME), storage.as_json(history))
        self._uploads.start()
        if self.is_done:
            self.flush()

    def flush(self) -> None:
        """Wait until all that was saved is published.

        Raises:
            OSError: It cannot be.
        """
        self._uploads.flush()

    def _info(self, kind: Any, epoch: int, error_pct: float | None, state: dict[str, Any]) -> CheckpointInfo:
        return CheckpointInfo(
            kind=kind,
            config=self.config,
            keypoints=self.schema.name,
            data_fingerprint=self.fingerprint,
            epoch=epoch,
            val_error_pct=error_pct,
            train_s=self.busy_s,
            state=state,
        )


def _finite(loss: float, epoch: int) -> float:
    """The loss, so that no other one is saved or told."""
    if not math.isfinite(loss):
        raise TrainingFailed(f"the loss became {loss} in epoch {epoch}; try a lower optimizer.lr")
    return loss


def train(run: Trainer, on_epoch: Callable[[EpochReport], None] = lambda report: None) -> None:
    """Run to the end, saving after every epoch.

    Raises:
        TrainingFailed: See `TrainRun.run_epoch`.
        Interrupted: See `TrainRun.run_epoch`.
    """
    while not run.is_done:
        report = run.train_epoch()
        run.save()
        on_epoch(report)
        if run.distributed.any_rank(run.should_stop()) and not run.is_done:
            run.flush()
            raise Interrupted(f"stopped after epoch {report.epoch}")
