"""The Ray Tune actor that trains trials, one after another in one process: a step is an epoch.

Torch is imported by the actor only, so that the driver of a search starts without it.
"""

from __future__ import annotations

import contextlib
import statistics
import time
import traceback
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.util import get_node_ip_address

from rcn_search import storage
from rcn_search.cluster.credentials import Credentials
from rcn_search.cluster.worker_group import WorkerDied, WorkerGroup
from rcn_search.config.schema import ComputeConfig, TrainConfig
from rcn_search.study.records import TRIAL_NAME
from rcn_search.training.exit_status import TrainingFailed
from rcn_search.training.gpu_memory import limit_memory, release_memory

if TYPE_CHECKING:
    from rcn_search.training.epoch_report import EpochReport
    from rcn_search.training.trainer import TrainRun

METRIC = "val_error_pct"
TIME = "epoch"
NUM_LATENCY_RUNS = 25
"""Of which the first fifth warms up."""


class TrialActor(tune.Trainable):  # type: ignore[misc]
    """Trains what its ``config`` says and says how it went.

    Keys of ``config``: ``folder``, URI of the trial's files; ``train``, a `TrainConfig` as JSON; ``base``, that of the
    study, by whose model the compute options left open are settled; ``compute``, URI where they are kept for all trials
    of a study that is to be repeatable; ``latency``, whether to measure it; ``workers``, how many train it together;
    ``gpus``, the share of one that each of them has.

    Keys of a result: ``val_error_pct`` and ``epoch``; ``epochs``, this epoch and, when the trial was taken up from its
    checkpoint, those before; ``complete``; ``measured``, once in a process: ``parameters`` of the network and,
    where asked for, ``latency_ms`` of one face. Of a trial that cannot go on: ``failure``, the reason, ``traceback``,
    and the ``epochs`` before. When it is not the trial's fault (a full disk, storage out of reach): ``halt``, the
    reason to stop the search.

    Tune's own checkpoints are not used: a run saves itself after every epoch and is always taken up where it left off,
    whether its process died or its driver. When one of several workers dies, so does the trial's process, for Tune to
    start it again.
    """

    _access: Credentials
    _trial: dict[str, Any]
    _run: TrainRun | None
    _earlier: list[EpochReport]
    _worker_group: WorkerGroup | None
    _unsaved: OSError | None

    def setup(self, config: dict[str, Any], access: Credentials | None = None) -> None:
        """Called by Tune for the first trial of the process.

        Args:
            config: As above.
            access: To the object store of the study; what this process has already, by default.
        """
        self._access = access or Credentials({})
        self._access.apply_to_environment()
        self._run = self._worker_group = self._unsaved = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called by Tune for every other trial."""
        if self._run:  # it was stopped, perhaps while its last checkpoint was on its way
            try:
                self._run.flush()
            except OSError as error:
                self._unsaved = error
        self._trial, self._run, self._earlier = new_config, None, []
        if new_config.get("workers", 1) > 1 and (self._worker_group is None or self._worker_group.is_shut_down):
            self._worker_group = WorkerGroup(self._access)  # they start while this process imports torch
        if new_config.get("gpus"):
            release_memory()
        return True

    def cleanup(self) -> None:
        """Called by Tune at the end of the process."""
        if self._run:
            self._run.flush()

    def step(self) -> dict[str, Any]:
        """Train one epoch, publish the checkpoint, report.

        Raises:
            WorkerDied: For Tune, which takes the trial up again in other processes.
        """
        try:
            if self._unsaved:
                raise self._unsaved
            return self._epoch()
        except WorkerDied:
            raise
        except OSError as error:
            return _failed(halt=f"{type(error).__name__}: {error}")
        except Exception as error:
            epochs = list(map(_entry, self._earlier))
            if isinstance(error, TrainingFailed):
                return _failed(failure=str(error), epochs=epochs)
            return _failed(failure=f"{type(error).__name__}: {error}", traceback=traceback.format_exc(), epochs=epochs)

    def _epoch(self) -> dict[str, Any]:
        started = time.perf_counter()
        measured: dict[str, float] = {}
        if self._run is None:
            limit_memory(float(self._trial.get("gpus", 0)))
            self._run = _open(self._trial, self._worker_group)
            self._earlier = list(self._run.history)
            measured = _measured(self._run, latency=bool(self._trial.get("latency")))
        if self._run.done:  # its last epoch was saved, but its end not entered in the ledger
            report = self._earlier.pop()
        else:
            own = self._run.run_epoch
            report = self._worker_group.run_on_all("epoch", local=own) if self._worker_group else own()
            self._run.save()
        other_s = time.perf_counter() - started - report.train_s - report.val_s
        earlier, self._earlier = self._earlier, []
        return {
            METRIC: report.val_error_pct,
            TIME: report.epoch,
            "epochs": [*map(_entry, earlier), {**_entry(report), "other_s": max(0.0, other_s)}],
            "measured": measured,
            "complete": self._run.done,
            "done": self._run.done,
        }


def _open(trial: dict[str, Any], worker_group: WorkerGroup | None) -> TrainRun:
    from rcn_search.training.distributed import Workers
    from rcn_search.training.trainer import TrainRun

    folder = trial["folder"]
    if not storage.exists(storage.join(folder, TRIAL_NAME)):  # the driver has written it
        raise OSError(
            f"the study is not on this machine ({get_node_ip_address()}): there is no {folder}; name a folder that all "
            "nodes share, or s3://…, with --study"
        )
    config = TrainConfig.model_validate_json(trial["train"])
    compute = _settled_compute(trial["base"])
    if trial.get("compute"):
        compute = _kept(compute, trial["compute"])
    config = config.model_copy(update={"compute": compute})
    if worker_group is None:
        return TrainRun(config, folder, resume=True)
    workers = Workers(0, worker_group.size)
    return worker_group.run_on_all(
        "open",
        config.model_dump_json(),
        folder,
        local=lambda: TrainRun(config, folder, resume=True, workers=workers),
    )


def _kept(compute: ComputeConfig, uri: str) -> ComputeConfig:
    """What the first trial of the study settled on, wherever it ran."""
    with contextlib.suppress(storage.ObjectExistsError):
        storage.write_json(uri, compute.model_dump(mode="json"), if_absent=True)
    return ComputeConfig.model_validate(storage.read_json(uri))


@lru_cache(maxsize=8)
def _settled_compute(base: str) -> ComputeConfig:
    """The compute options of all of a study's trials on this machine; probing every model would double the work."""
    from rcn_search.data.dataset import open_dataset
    from rcn_search.training.compute_probe import choose_settings

    config = TrainConfig.model_validate_json(base)
    num_points = open_dataset(config.data.uri).manifest.keypoint_schema.num_points
    return ComputeConfig.model_validate(choose_settings(config, num_points).model_dump())


def _measured(run: TrainRun, *, latency: bool) -> dict[str, float]:
    from rcn_search.models.complexity import count_parameters

    measured = {"parameters": float(count_parameters(run.learner.network))}
    return {**measured, "latency_ms": _latency_ms(run)} if latency else measured


def _latency_ms(run: TrainRun) -> float:
    """Median time of one face's way through the network, as it is trained here."""
    import torch

    network, options = run.learner.network, run.config.input
    face = torch.zeros(1, options.channels, options.size_px, options.size_px, device=run.settings.device)
    times_s: list[float] = []
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        for _ in range(NUM_LATENCY_RUNS):
            started = time.perf_counter()
            network(run.settings.laid_out(face)).sum().item()  # waits for the device
            times_s.append(time.perf_counter() - started)
    network.train(was_training)
    return 1e3 * statistics.median(times_s[NUM_LATENCY_RUNS // 5 :])


def _entry(report: EpochReport) -> dict[str, Any]:
    return report.model_dump(include={"epoch", "loss", "val_error_pct", "best_error_pct", "train_s", "val_s"})


def _failed(**reason: Any) -> dict[str, Any]:
    # Tune insists on a metric; there is none.
    return {METRIC: float("nan"), "done": True, **reason}
