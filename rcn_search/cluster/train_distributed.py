"""One training with several workers, by Ray Train.

Ray Train places the workers, joins them and, when one of them dies, starts all of them again; the run goes on from its
last checkpoint, as `TrainRun` always does. The checkpoints, the history and their form are those of a run with one
worker: Ray Train keeps none. What the workers say reaches the command line through an actor, the `Desk`; so does the
access to the object store reach them, since Ray keeps a record of the ``train_loop_config``.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import traceback
from collections.abc import Callable
from typing import Any

import ray
import torch
from pydantic import Field
from ray import train as ray_train
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rcn_search import storage
from rcn_search.cluster.credentials import Credentials
from rcn_search.cluster.runtime import CapacityError, ClusterResources, connect_cluster
from rcn_search.cluster.status_channel import POLL_S, StatusChannel, TrainingEnd, StatusReporter, StatusMessage, RunStarted
from rcn_search.config.schema import FrozenModel, TrainConfig
from rcn_search.training.distributed import BACKENDS, PATIENCE, Workers
from rcn_search.training.epoch_report import EpochReport
from rcn_search.training.exit_status import Interrupted, TrainingFailed
from rcn_search.training.trainer import TrainRun, train

MAX_WORKER_DEATHS = 3
"""After each all workers go on from the last checkpoint; after one more the training has failed, and can be resumed."""
_ENDS: dict[str, type[Exception]] = {"interrupted": Interrupted, "failed": TrainingFailed, "wrong": ValueError}


class WorkerPlan(FrozenModel):
    """Workers of a training and the resources of each.

    Attributes:
        num_workers: Number of processes.
        cpus: CPUs of each worker, which are also its threads.
        gpus: GPUs of each worker: one or none.
        num_fitting: Number of workers that fit on the cluster now, where that is not all.
    """

    num_workers: int = Field(ge=1)
    cpus: int
    gpus: int
    num_fitting: int | None = None

    def __str__(self) -> str:
        return f"{self.num_workers} workers, {self.cpus} CPU, {self.gpus} GPU each"


def plan_workers(cluster: ClusterResources, config: TrainConfig, num_workers: int) -> WorkerPlan:
    """Choose the CPUs and GPUs of each worker: a GPU if there are any, unless the configuration says CPU.

    With ``compute.threads: auto`` the workers share the CPUs of the nodes that are there, and must fit now. With a
    number they may have to wait until the cluster has grown, except on one that cannot grow.

    Args:
        cluster: Nodes of the cluster; a worker cannot span two nodes.
        config: Configuration of the training.
        num_workers: Number of workers asked for.

    Raises:
        CapacityError: The workers do not fit.
    """
    device, threads = config.compute.device, config.compute.threads
    has_gpus = device.startswith("cuda") or (device != "cpu" and cluster.capacity(cpus=0, gpus=1) > 0)
    gpus, num_fitting = int(has_gpus), 0
    for cpus in _cpus_to_try(cluster) if threads == "auto" else (threads,):
        num_fitting = cluster.capacity(cpus=cpus, gpus=gpus)
        if num_fitting >= num_workers:
            return WorkerPlan(num_workers=num_workers, cpus=cpus, gpus=gpus)
    if threads != "auto" and not cluster.is_fixed:
        return WorkerPlan(num_workers=num_workers, cpus=threads, gpus=gpus, num_fitting=num_fitting)
    plan = WorkerPlan(num_workers=num_workers, cpus=1 if threads == "auto" else threads, gpus=gpus)
    message = f"{plan}: only {num_fitting} fit on the cluster ({cluster}); lower --workers"
    message += ", or set compute.device to cpu" if gpus else " or compute.threads"
    if not cluster.is_fixed:
        message += "; on a cluster that starts nodes on demand, set compute.threads to a number"
    raise CapacityError(message)


def _cpus_to_try(cluster: ClusterResources) -> range:
    """CPUs per worker, from those of the largest node downwards."""
    return range(int(max((node.get("CPU", 0) for node in cluster.nodes), default=0)), 0, -1)


def train_with_workers(
    config: TrainConfig,
    out: str,
    *,
    num_workers: int,
    resume: bool,
    should_stop: Callable[[], bool],
    on_plan: Callable[[str], None],
    on_start: Callable[[RunStarted], None],
    on_step: Callable[[int, int], None],
    on_epoch: Callable[[EpochReport], None],
) -> list[EpochReport]:
    """Train to the end, or to where ``should_stop`` says so, on the cluster of RAY_ADDRESS or on this machine.

    Args:
        config: What to train; ``compute.threads`` are those of each worker.
        out: Folder or URI of the run, which all nodes can reach.
        num_workers: Processes, each on its part of every batch.
        resume: Go on with the run that is there.
        should_stop: Asked a few times a second; the run is saved and can be resumed. Workers that are not there yet,
            perhaps because the cluster has to grow for them, are not waited for.
        on_plan: Told who trains where, before anything is started.
        on_start: Told what is trained, once by the workers of each start.
        on_step: Told the step of the epoch from 1, and the steps of an epoch.
        on_epoch: Told each epoch once.

    Returns:
        All epochs of the run.

    Raises:
        ValueError: As `TrainRun` and `plan_workers` raise it.
        TrainingFailed: As `TrainRun` raises it; memory of a GPU did not do, workers died too often or did not start.
        Interrupted: It was stopped.
    """
    history: list[EpochReport] = []

    def heard(news: StatusMessage) -> None:
        if isinstance(news, RunStarted):
            history.extend(news.history[len(history) :])  # of an earlier call, or saved and not told before a death
            on_start(news)
        elif isinstance(news, EpochReport):
            if news.epoch > len(history):  # else it is trained once more, after a death
                history.append(news)
                on_epoch(news)
        else:
            on_step(*news)

    with connect_cluster() as cluster, tempfile.TemporaryDirectory(prefix="rcn-search-") as scratch:
        plan = plan_workers(cluster, config, num_workers)
        on_plan(_describe(plan, cluster))
        compute = config.compute.model_copy(update={"threads": plan.cpus, "device": "cuda" if plan.gpus else "cpu"})
        data = config.data.model_copy(update={"uri": storage.absolute(config.data.uri)})  # workers are elsewhere
        desk = new_desk()
        job = {
            "config": config.model_copy(update={"compute": compute, "data": data}).model_dump_json(),
            "out": storage.absolute(out),
            "resume": resume,
            "desk": desk,
        }
        ray.get(desk.lend.remote(Credentials.from_environment(job["out"], data.uri)))
        trainer = TorchTrainer(
            _work,
            train_loop_config=job,
            torch_config=TorchConfig(
                backend=BACKENDS["cuda" if plan.gpus else "cpu"], timeout_s=int(PATIENCE.total_seconds())
            ),
            scaling_config=ray_train.ScalingConfig(
                num_workers=num_workers,
                use_gpu=bool(plan.gpus),
                resources_per_worker={"CPU": plan.cpus, **({"GPU": 1} if plan.gpus else {})},
            ),
            run_config=ray_train.RunConfig(
                name="train",
                storage_path=scratch,  # for Ray Train's own notes; it is given no checkpoint
                failure_config=ray_train.FailureConfig(max_failures=MAX_WORKER_DEATHS, controller_failure_limit=3),
                logging_config=ray_train.LoggingConfig("CRITICAL"),
            ),
        )
        fitting = _Fitting(trainer.fit)
        while fitting.wait_s(POLL_S):
            for news in ray.get(desk.take.remote(should_stop())):
                heard(news)
            if should_stop() and ray.get(desk.give_up.remote()):
                break
        for news in ray.get(desk.take.remote(True)):
            heard(news)
        end: TrainingEnd = ray.get(desk.end.remote())
        has_arrived: bool = ray.get(desk.has_arrived.remote())
    if end.how in _ENDS:
        raise _ENDS[end.how](end.reason)
    if end.how == "fault":
        raise RuntimeError(f"a worker failed:\n{end.reason}")
    if fitting.error:
        what = f"workers died more than {MAX_WORKER_DEATHS} times" if has_arrived else "the workers did not start"
        raise TrainingFailed(f"{what}; the same line with --resume goes on: {fitting.error}")
    return history


def _describe(plan: WorkerPlan, cluster: ClusterResources) -> str:
    waits = "" if plan.num_fitting is None else f": {plan.num_fitting} fit now, waiting for the cluster to scale up"
    return f"{plan}; on {cluster}{waits}"


def new_desk() -> Any:
    """On the node of this process, on which it depends anyway: another one may die or be given back to the cloud."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(StatusChannel).options(num_cpus=0, scheduling_strategy=here).remote()


class _Fitting:
    """A call in a thread of its own, for Ray Train takes Ctrl-C to itself in the main one."""

    def __init__(self, fit: Callable[[], Any]) -> None:
        self.error: Exception | None = None
        self._fit = fit
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._fit()
        except SystemExit:
            pass  # so Ray ends what waits for it when it ends itself: workers were not waited for
        except Exception as error:
            self.error = error

    def wait_s(self, seconds: float) -> bool:
        """Wait for the end or so long; whether the call is still under way."""
        self._thread.join(seconds)
        return self._thread.is_alive()


def _work(job: dict[str, Any]) -> None:
    """What each worker does: train, and leave word of it."""
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    context, desk = ray_train.get_context(), job["desk"]
    workers = Workers(context.get_world_rank(), context.get_world_size())
    ray.get(desk.access.remote()).take_on()
    if ray.get(desk.end.remote()).how != "done":
        return  # what ended the others would end these again
    line = StatusReporter(desk if workers.is_first else None)
    try:
        run = TrainRun(
            TrainConfig.model_validate_json(job["config"]),
            job["out"],
            resume=job["resume"] or ray.get(desk.has_started.remote()),
            should_stop=lambda: line.stop,
            on_step=line.step,
            workers=workers,
        )
        line.say(RunStarted(out=run.out, settings=run.settings, num_params=run.num_params, history=tuple(run.history)))
        train(run, line.say)
    except Exception as error:
        if end := end_by(error):
            ray.get(desk.finish.remote(end))
        if not isinstance(error, Interrupted | TrainingFailed):  # which each worker sees alike
            raise  # the others wait for this one


def end_by(error: Exception) -> TrainingEnd | None:
    """How an error of a worker ends the training; None of one after which all workers are started again."""
    match error:
        case Interrupted():
            return TrainingEnd(how="interrupted", reason=str(error))
        case TrainingFailed():
            return TrainingEnd(how="failed", reason=str(error))
        case torch.OutOfMemoryError():  # it would be so again
            return TrainingEnd(how="failed", reason=f"{error}; try a smaller schedule.batch_size")
        case ValueError() | OSError():
            return TrainingEnd(how="wrong", reason=str(error))
        case RuntimeError():  # as a rule another worker has died, which this one could not reach
            return None
    return TrainingEnd(how="fault", reason="".join(traceback.format_exception(error)))
