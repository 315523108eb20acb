"""The Ray Tune actor that trains trials, one after another in one process; a step is an epoch.

Only the actor imports torch, so that the search process starts without it.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.util import get_node_ip_address

from rcn_search import storage
from rcn_search.cluster.credentials import Credentials
from rcn_search.cluster.worker_group import WorkerDied, WorkerGroup
from rcn_search.config.network_target import allow_network
from rcn_search.config.schema import ComputeConfig, FrozenModel, TrainConfig
from rcn_search.study.records import read_record
from rcn_search.study.store import TRIAL_NAME
from rcn_search.training.exit_status import TrainingFailed
from rcn_search.training.memory import limit_memory, release_memory

if TYPE_CHECKING:
    from rcn_search.training.epoch_report import EpochReport
    from rcn_search.training.trainer import Trainer

METRIC = "val_error_pct"


class TrialSpec(FrozenModel):
    """One trial, as the search process hands it to a `TrialActor`.

    Attributes:
        config: What to train; the actor chooses the compute options.
        base_config: Configuration before anything is searched; its model is probed for the compute options left open.
        shared_compute_uri: URI at which all actors of a repeatable study share the compute options that the first
            trial chose; None lets each actor choose its own.
    """

    number: int
    folder: str
    config: TrainConfig
    base_config: TrainConfig
    shared_compute_uri: str | None = None
    num_workers: int = 1
    gpus_per_worker: float = 0
    measure_latency: bool = False

    def __repr__(self) -> str:
        """Describe it in short: Tune asks at every result."""
        return f"TrialSpec({self.number})"

    def to_tune_config(self) -> dict[str, Any]:
        """Tune's configuration of the trial; the number stands beside the spec for Tune's callbacks."""
        return {"number": self.number, "spec": self}


class TrialActor(tune.Trainable):  # type: ignore[misc]
    """Trains the trial of a `TrialSpec` and reports its epochs.

    Keys of a result:

    - ``val_error_pct`` and ``epoch``;
    - ``epochs``: this epoch and, if the trial was resumed from its checkpoint, those before;
    - ``complete``: whether it was the last epoch;
    - ``metrics``: once per process, ``parameters`` of the network and, if asked for, ``latency_ms`` of one face;
    - ``failure`` and ``traceback``: why the trial failed, with the ``epochs`` before;
    - ``halt``: why the whole search must stop, for what is not the trial's fault: a full disk, unreachable storage.

    Tune's own checkpoints are not used. A run saves itself every ``checkpoint.every_s`` and resumes from there, whether
    its own process died or the search process; epochs since then are trained and reported again. If a worker dies, the
    trial's process ends too, and Tune starts it again.
    """

    _credentials: Credentials
    _spec: TrialSpec
    _compute: ComputeConfig | None
    _trainer: Trainer | None
    _unreported: list[EpochReport]
    _worker_group: WorkerGroup | None
    _flush_error: OSError | None

    def setup(self, config: dict[str, Any], credentials: Credentials | None = None) -> None:
        """Prepare the process for its first trial; called by Tune with `TrialSpec.to_tune_config`."""
        self._credentials = credentials or Credentials({})
        self._credentials.apply_to_environment()
        self._trainer = self._worker_group = self._flush_error = self._compute = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Prepare for the next trial; called by Tune for every trial but the first."""
        if self._trainer:  # the scheduler may have stopped it between two saves
            try:
                self._trainer.close()
            except OSError as error:
                self._flush_error = error
        self._spec, self._trainer, self._unreported = new_config["spec"], None, []
        if self._spec.num_workers > 1 and (self._worker_group is None or self._worker_group.is_shut_down):
            self._worker_group = WorkerGroup(self._credentials)  # its processes start while this one imports torch
        if self._spec.gpus_per_worker:
            release_memory()
        return True

    def cleanup(self) -> None:
        """Save what is not saved; called by Tune at the end of the process."""
        if self._trainer:
            self._trainer.close()

    def get_auto_filled_metrics(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Leave the configuration out of what Tune adds to each result: the search process has it."""
        return {
            key: value for key, value in super().get_auto_filled_metrics(*args, **options).items() if key != "config"
        }

    def step(self) -> dict[str, Any]:
        """Train one epoch, save if it is time, and report; after WorkerDied Tune resumes in other processes."""
        try:
            if self._flush_error:
                raise self._flush_error
            return self._train_epoch()
        except WorkerDied:
            raise
        except OSError as error:
            return _failure(halt=f"{type(error).__name__}: {error}")
        except TrainingFailed as error:
            return _failure(failure=str(error), epochs=_epoch_results(self._unreported))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            return _failure(failure=reason, traceback=traceback.format_exc(), epochs=_epoch_results(self._unreported))

    def _train_epoch(self) -> dict[str, Any]:
        started = time.perf_counter()
        metrics: dict[str, float] = {}
        if self._trainer is None:
            limit_memory(self._spec.gpus_per_worker)
            self._trainer = self._open_run()
            self._unreported = list(self._trainer.history)
            metrics = _measure(self._trainer, latency=self._spec.measure_latency)
        if self._trainer.is_done:  # its last epoch was saved, but the search process died before it recorded the end
            report = self._unreported.pop()
        else:
            train = self._trainer.train_epoch
            report = self._worker_group.run_on_all("epoch", local=train) if self._worker_group else train()
            self._trainer.save_if_due()
        other_s = max(0.0, time.perf_counter() - started - report.train_s - report.val_s)
        earlier, self._unreported = self._unreported, []
        return {
            METRIC: report.val_error_pct,
            "epoch": report.epoch,
            "epochs": [*_epoch_results(earlier), {**_epoch_results([report])[0], "other_s": other_s}],
            "metrics": metrics,
            "complete": self._trainer.is_done,
            "done": self._trainer.is_done,
        }

    def _open_run(self) -> Trainer:
        from rcn_search.training.distributed import DistributedContext
        from rcn_search.training.trainer import Trainer

        folder = self._spec.folder
        if not storage.exists(storage.join(folder, TRIAL_NAME)):  # which the search process has written
            raise OSError(
                f"the study is not on this machine ({get_node_ip_address()}): there is no {folder}; with --study, name "
                "a folder that all nodes share, or s3://…"
            )
        config = self._spec.config.model_copy(update={"compute": self._choose_compute()})
        group = self._worker_group
        if group is None:
            return Trainer(config, folder, resume=True)
        distributed = DistributedContext(0, group.size)
        return group.run_on_all(
            "open",
            config.model_dump_json(),
            folder,
            local=lambda: Trainer(config, folder, resume=True, distributed=distributed),
        )

    def _choose_compute(self) -> ComputeConfig:
        """Choose the compute options of all trials of this process; probing every model would double the work."""
        allow_network(self._spec.base_config.model)
        if self._compute is None:
            compute = _probe(self._spec.base_config)
            if uri := self._spec.shared_compute_uri:
                with contextlib.suppress(storage.ObjectExistsError):
                    storage.write_json(uri, compute.model_dump(mode="json"), if_absent=True)
                compute = read_record(uri, ComputeConfig)
            self._compute = compute
        return self._compute


def _probe(config: TrainConfig) -> ComputeConfig:
    from rcn_search.data.dataset import open_dataset
    from rcn_search.training.compute_probe import choose_settings

    num_points = open_dataset(config.data.uri).manifest.keypoint_schema.num_points
    return ComputeConfig.model_validate(choose_settings(config, num_points).model_dump())


def _measure(run: Trainer, *, latency: bool) -> dict[str, float]:
    from rcn_search.inference.latency import latency_ms
    from rcn_search.models.complexity import count_parameters

    network, settings = run.state.network, run.settings
    metrics = {"parameters": float(count_parameters(network))}
    if latency:  # on the device and in the memory layout of the training
        metrics["latency_ms"] = latency_ms(network, run.config.input, settings.device, settings.memory_format)
    return metrics


def _epoch_results(reports: list[EpochReport]) -> list[dict[str, Any]]:
    keys = {"epoch", "loss", "val_error_pct", "best_error_pct", "train_s", "val_s"}
    return [report.model_dump(include=keys) for report in reports]


def _failure(**reason: Any) -> dict[str, Any]:
    return {METRIC: float("nan"), "done": True, **reason}  # Tune requires a metric
