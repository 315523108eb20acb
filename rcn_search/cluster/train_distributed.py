"""One training with several workers, by Ray Train.

Ray Train places the workers, joins them into a process group and starts all of them again when one dies; the run then
resumes from its last checkpoint. A `StatusChannel` carries messages to the command line, and credentials to workers.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray import train as ray_train
from ray.train.torch import TorchConfig, TorchTrainer

from rcn_search import storage
from rcn_search.cluster.credentials import Credentials
from rcn_search.cluster.network_code import check_nodes, local_modules
from rcn_search.cluster.runtime import CapacityError, ClusterResources, connect_cluster
from rcn_search.cluster.status_channel import (
    POLL_INTERVAL_S,
    RunStarted,
    StatusMessage,
    StatusReporter,
    TrainingEnd,
    start_status_channel,
)
from rcn_search.config.schema import CustomConfig, TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.training.distributed import BACKENDS, COLLECTIVE_TIMEOUT, DistributedContext
from rcn_search.training.epoch_report import EpochReport
from rcn_search.training.exit_status import Interrupted, TrainingFailed
from rcn_search.training.trainer import Trainer

MAX_WORKER_DEATHS = 3
"""After each death all workers resume from the last checkpoint; after one more the training fails."""
_EXCEPTIONS = {"interrupted": Interrupted, "failed": TrainingFailed, "user_error": RcnSearchError}


@dataclass(frozen=True)
class WorkerPlan:
    """Workers of a training and where they run: each has ``cpus`` CPUs and as many threads, and one GPU or none."""

    num_workers: int
    cpus: int
    gpus: int
    cluster: ClusterResources

    @property
    def num_fitting(self) -> int:
        """Number of such workers that fit on the cluster now."""
        return self.cluster.capacity(cpus=self.cpus, gpus=self.gpus)

    def __str__(self) -> str:
        """For example ``2 workers, 4 CPU, 1 GPU each; on 8 CPU, 2 GPU``."""
        text = f"{self.num_workers} workers, {self.cpus} CPU, {self.gpus} GPU each; on {self.cluster}"
        waits = f": {self.num_fitting} fit now, waiting for the cluster to scale up"
        return text if self.num_fitting >= self.num_workers else text + waits


def plan_workers(cluster: ClusterResources, config: TrainConfig, num_workers: int) -> WorkerPlan:
    """Choose the CPUs and GPUs of each worker: a GPU if there are any, unless the configuration says CPU.

    With ``compute.threads: auto`` the workers share the CPUs of the nodes that are there, and must fit now. With a
    number they may have to wait until the cluster has grown, except on one that cannot grow.

    Raises:
        CapacityError: The workers do not fit.
    """
    device, threads = config.compute.device, config.compute.threads
    gpus = int(device.startswith("cuda") or (device != "cpu" and cluster.capacity(cpus=0, gpus=1) > 0))
    most_cpus = int(max((node.get("CPU", 0) for node in cluster.nodes), default=0))
    for cpus in range(most_cpus, 0, -1) if threads == "auto" else [threads]:
        plan = WorkerPlan(num_workers, cpus, gpus, cluster)
        if plan.num_fitting >= num_workers or (threads != "auto" and not cluster.is_fixed):
            return plan
    smallest = WorkerPlan(num_workers, 1 if threads == "auto" else threads, gpus, cluster)
    message = (
        f"{num_workers} workers need {smallest.cpus} CPU and {gpus} GPU each, but only {smallest.num_fitting} fit on "
        f"the cluster ({cluster}); lower --workers"
    )
    message += ", or set compute.device to cpu" if gpus else " or compute.threads"
    if not cluster.is_fixed:
        message += "; on a cluster that starts nodes on demand, set compute.threads to a number"
    raise CapacityError(message)


def train_with_workers(
    config: TrainConfig,
    out: str,
    *,
    num_workers: int,
    resume: bool,
    should_stop: Callable[[], bool],
    on_message: Callable[[WorkerPlan | StatusMessage], None],
) -> list[EpochReport]:
    """Train to the end on the cluster of RAY_ADDRESS or on this machine; return all epochs of the run.

    ``should_stop`` is called a few times a second. If true, the run is saved and can be resumed; workers that have not
    started yet, perhaps because the cluster has to grow for them, are not waited for. ``on_message`` is called with the
    `WorkerPlan` before anything starts, with `RunStarted` after each start of the workers, with `StepDone` a few times
    a second, and with the `EpochReport` of each epoch once.

    Raises:
        CapacityError: The workers do not fit on the cluster.
        RcnSearchError: The configuration, the data or the folder of the run is not usable.
        TrainingFailed: The loss is not finite, GPU memory is too small, or workers died too often or did not start.
        Interrupted: The training was asked to stop.
    """
    history: list[EpochReport] = []
    targets = [config.model.target] if isinstance(config.model, CustomConfig) else []
    with (
        connect_cluster(local_modules(targets)) as cluster,
        tempfile.TemporaryDirectory(prefix="rcn-search-") as scratch,
    ):
        plan = plan_workers(cluster, config, num_workers)
        on_message(plan)
        check_nodes(targets)
        channel = start_status_channel()
        data_uri = storage.absolute(config.data.uri)  # workers have other working directories
        ray.get(channel.set_credentials.remote(Credentials.from_environment(out, data_uri)))
        trainer = _build_trainer(config, plan, data_uri, storage.absolute(out), scratch, resume=resume, channel=channel)
        fit = _BackgroundCall(trainer.fit)
        for message in _relay_messages(channel, fit, should_stop):
            if isinstance(message, RunStarted):
                history.extend(message.history[len(history) :])  # trained before, or saved but lost in a worker's death
            elif isinstance(message, EpochReport):
                if message.epoch <= len(history):  # trained again after a worker's death
                    continue
                history.append(message)
            on_message(message)
        end, has_worker = ray.get([channel.end.remote(), channel.has_worker.remote()])
    _raise_for(end, fit.error, has_worker)
    return history


def _build_trainer(
    config: TrainConfig, plan: WorkerPlan, data_uri: str, out: str, scratch: str, *, resume: bool, channel: Any
) -> TorchTrainer:
    device = "cuda" if plan.gpus else "cpu"
    changes = {
        "compute": config.compute.model_copy(update={"threads": plan.cpus, "device": device}),
        "data": config.data.model_copy(update={"uri": data_uri}),
    }
    worker_config = config.model_copy(update=changes).model_dump_json()
    return TorchTrainer(
        _train_on_worker,
        train_loop_config={"config": worker_config, "out": out, "resume": resume, "channel": channel},
        torch_config=TorchConfig(backend=BACKENDS[device], timeout_s=int(COLLECTIVE_TIMEOUT.total_seconds())),
        scaling_config=ray_train.ScalingConfig(
            num_workers=plan.num_workers,
            use_gpu=bool(plan.gpus),
            resources_per_worker={"CPU": plan.cpus, **({"GPU": 1} if plan.gpus else {})},
        ),
        run_config=ray_train.RunConfig(
            name="train",
            storage_path=scratch,  # for Ray Train's own files; it is given no checkpoint
            failure_config=ray_train.FailureConfig(max_failures=MAX_WORKER_DEATHS, controller_failure_limit=3),
            logging_config=ray_train.LoggingConfig("CRITICAL"),
        ),
    )


def _relay_messages(channel: Any, fit: _BackgroundCall, should_stop: Callable[[], bool]) -> Iterator[StatusMessage]:
    """Yield the workers' messages until the training is over, or until it is stopped before they have started."""
    while fit.is_running(POLL_INTERVAL_S):
        yield from ray.get(channel.drain.remote(should_stop()))
        if should_stop() and ray.get(channel.cancel_start.remote()):
            break
    yield from ray.get(channel.drain.remote(True))


def _raise_for(end: TrainingEnd, error: Exception | None, has_worker: bool) -> None:
    """Raise the exception for a training that is not done, by the end that the workers or Ray Train report."""
    if end.status in _EXCEPTIONS:
        raise _EXCEPTIONS[end.status](end.reason)
    if end.status == "crashed":
        raise RuntimeError(f"a worker failed:\n{end.reason}")
    if error:
        what = f"workers died more than {MAX_WORKER_DEATHS} times" if has_worker else "the workers did not start"
        raise TrainingFailed(f"{what}; resume with the same command and --resume: {error}")


class _BackgroundCall:
    """A call in a thread of its own, because Ray Train handles Ctrl-C itself if it runs in the main thread."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.error: Exception | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._call()
        except SystemExit:
            pass  # Ray raises it here at its shutdown, when the workers were not waited for
        except Exception as error:
            self.error = error

    def is_running(self, wait_s: float) -> bool:
        self._thread.join(wait_s)
        return self._thread.is_alive()


def _train_on_worker(job: dict[str, Any]) -> None:
    """Train as one of the workers; called by Ray Train in each of their processes."""
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    context, channel = ray_train.get_context(), job["channel"]
    distributed = DistributedContext(context.get_world_rank(), context.get_world_size())
    orders = ray.get(channel.register.remote())
    orders.credentials.apply_to_environment()
    if orders.has_ended:
        return  # the reason would end these workers, too
    reporter = StatusReporter(channel if distributed.is_first else None)
    try:
        run = Trainer(
            TrainConfig.model_validate_json(job["config"]),
            job["out"],
            resume=job["resume"] or orders.resume,
            should_stop=lambda: reporter.stop,
            on_step=reporter.report_step,
            distributed=distributed,
        )
        start = RunStarted(
            out=run.out,
            settings=run.settings,
            num_params=run.num_params,
            start=str(run.start),
            history=tuple(run.history),
        )
        reporter.report(start)
        run.train(reporter.report)
    except Exception as error:
        if end := end_for(error):
            ray.get(channel.finish.remote(end))
        if not isinstance(error, Interrupted | TrainingFailed):  # which every worker raises
            raise  # the others are waiting for this one


def end_for(error: Exception) -> TrainingEnd | None:
    """Classify the exception of a worker; None if all workers must be started again."""
    match error:
        case Interrupted():
            return TrainingEnd(status="interrupted", reason=str(error))
        case TrainingFailed():
            return TrainingEnd(status="failed", reason=str(error))
        case torch.OutOfMemoryError():  # another attempt would end in the same way
            return TrainingEnd(status="failed", reason=f"{error}; try a smaller schedule.batch_size")
        case RcnSearchError() | OSError():
            return TrainingEnd(status="user_error", reason=str(error))
        case RuntimeError():  # usually a lost connection to a worker that died
            return None
    return TrainingEnd(status="crashed", reason="".join(traceback.format_exception(error)))
