"""One training with several workers, by Ray Train.

Ray Train places the workers, joins them and, when one of them dies, starts all of them again; the run goes on from its
last checkpoint, as `TrainRun` always does. The checkpoints, the history and their form are those of a run with one
worker: Ray Train keeps none. What the workers say reaches the command line through an actor, the `Desk`.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Literal, cast

import ray
from pydantic import Field
from ray import train as ray_train
from ray.train.torch import TorchConfig, TorchTrainer

from rcn_search import storage
from rcn_search.config import Options, TrainConfig
from rcn_search.search.cluster import Nodes, cluster, room
from rcn_search.training.distributed import BACKENDS, PATIENCE, Workers
from rcn_search.training.outcome import Interrupted, TrainingFailed
from rcn_search.training.probe import ComputeSettings
from rcn_search.training.report import EpochReport
from rcn_search.training.run import TrainRun, train

MAX_WORKER_DEATHS = 3
"""After each all workers go on from the last checkpoint; after one more the training has failed, and can be resumed."""
_POLL_S = 0.2
_ENDS: dict[str, type[Exception]] = {"interrupted": Interrupted, "failed": TrainingFailed, "wrong": ValueError}


class Plan(Options):
    """Who trains where.

    Attributes:
        num_workers: Processes.
        cpus: Of each, and its threads.
        gpus: Of each: one or none.
    """

    num_workers: int = Field(ge=1)
    cpus: int
    gpus: int

    def __str__(self) -> str:
        return f"{self.num_workers} workers, {self.cpus} CPU, {self.gpus} GPU each"


class Started(Options):
    """What the first worker says of the run before it trains.

    Attributes:
        out: Folder or URI.
        settings: Of each worker.
        num_params: Parameters of the network.
        history: Epochs behind the run.
    """

    out: str
    settings: ComputeSettings
    num_params: int
    history: tuple[EpochReport, ...]


class End(Options):
    """How a training ended: ``done``, ``interrupted``, ``failed``, or something is ``wrong`` that a user can mend."""

    how: Literal["done", "interrupted", "failed", "wrong", "fault"]
    reason: str = ""


News = Started | EpochReport | tuple[int, int]
"""The last is a step of the epoch, from 1, and the steps of an epoch."""


class Desk:
    """Where workers and command line leave word for each other; an actor."""

    def __init__(self) -> None:
        self._news: list[News] = []
        self._stop, self._started, self._end = False, False, End(how="done")

    def tell(self, news: News) -> bool:
        """Something new of the first worker. Returns whether it is to stop."""
        self._news.append(news)
        self._started |= isinstance(news, Started)
        return self._stop

    def has_started(self) -> bool:
        """Whether these workers have begun with the run before one of them died."""
        return self._started

    def take(self, stop: bool) -> list[News]:
        """What was told since; and whether the workers are to stop from now on."""
        news, self._news, self._stop = self._news, [], stop
        return news

    def finish(self, end: End) -> None:
        """A worker is at its end; the first reason counts, for it is that of the others."""
        if self._end.how == "done":
            self._end = end

    def end(self) -> End:
        """As it is known."""
        return self._end


def plan_workers(nodes: Nodes, config: TrainConfig, num_workers: int) -> Plan:
    """A GPU for each worker if there are GPUs and the configuration does not say CPU; and its part of the CPUs.

    Raises:
        ValueError: There is not so much.
    """
    num_gpus = int(sum(node.get("GPU", 0) for node in nodes)) if config.compute.device != "cpu" else 0
    threads = config.compute.threads
    num_cpus = int(sum(node.get("CPU", 0) for node in nodes))
    cpus = max(1, num_cpus // num_workers) if threads == "auto" else threads
    while threads == "auto" and cpus > 1 and room(nodes, cpus=cpus, gpus=0) < num_workers:
        cpus -= 1  # the CPUs of a node may not divide
    plan = Plan(num_workers=num_workers, cpus=cpus, gpus=min(1, num_gpus))
    fitting = room(nodes, cpus=plan.cpus, gpus=plan.gpus)
    if fitting < num_workers:
        have = "; ".join(f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in nodes)
        raise ValueError(
            f"{plan} were asked for, and there is room for {fitting} ({have}); lower --workers"
            + (", or set compute.device to cpu" if plan.gpus else " or compute.threads")
        )
    return plan


def train_with_workers(
    config: TrainConfig,
    out: str,
    *,
    num_workers: int,
    resume: bool,
    should_stop: Callable[[], bool],
    on_plan: Callable[[Plan], None],
    on_start: Callable[[Started], None],
    on_step: Callable[[int, int], None],
    on_epoch: Callable[[EpochReport], None],
) -> list[EpochReport]:
    """Train to the end, or to where ``should_stop`` says so, on the cluster of RAY_ADDRESS or on this machine.

    Args:
        config: What to train; ``compute.threads`` are those of each worker.
        out: Folder or URI of the run, which all nodes can reach.
        num_workers: Processes, each on its part of every batch.
        resume: Go on with the run that is there.
        should_stop: Asked a few times a second; the run is saved and can be resumed.
        on_plan: Told who trains where, before anything is started.
        on_start: Told what is trained, once by the workers of each start.
        on_step: Told the step of the epoch from 1, and the steps of an epoch.
        on_epoch: Told each epoch once.

    Returns:
        All epochs of the run.

    Raises:
        ValueError: As `TrainRun` and `plan_workers` raise it.
        TrainingFailed: As `TrainRun` raises it, or workers died too often.
        Interrupted: It was stopped.
    """
    history: list[EpochReport] = []

    def heard(news: News) -> None:
        if isinstance(news, Started):
            history.extend(news.history[len(history) :])  # of an earlier call, or saved and not told before a death
            on_start(news)
        elif isinstance(news, EpochReport):
            if news.epoch > len(history):  # else it is trained once more, after a death
                history.append(news)
                on_epoch(news)
        else:
            on_step(*news)

    with cluster() as nodes, tempfile.TemporaryDirectory(prefix="rcn-search-") as scratch:
        plan = plan_workers(nodes, config, num_workers)
        on_plan(plan)
        compute = config.compute.model_copy(update={"threads": plan.cpus, "device": "cuda" if plan.gpus else "cpu"})
        data = config.data.model_copy(update={"uri": storage.absolute(config.data.uri)})  # workers are elsewhere
        job = {
            "config": config.model_copy(update={"compute": compute, "data": data}).model_dump_json(),
            "out": storage.absolute(out),
            "resume": resume,
            "desk": (desk := ray.remote(Desk).options(num_cpus=0).remote()),
        }
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
        while fitting.wait_s(_POLL_S):
            for news in ray.get(desk.take.remote(should_stop())):
                heard(news)
        for news in ray.get(desk.take.remote(True)):
            heard(news)
        end: End = ray.get(desk.end.remote())
    if end.how in _ENDS:
        raise _ENDS[end.how](end.reason)
    if end.how == "fault":
        raise RuntimeError(f"a worker failed:\n{end.reason}")
    if fitting.error:
        raise TrainingFailed(
            f"workers died more than {MAX_WORKER_DEATHS} times; the same line with --resume goes on: {fitting.error}"
        )
    return history


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
    if ray.get(desk.end.remote()).how != "done":
        return  # what ended the others would end these again
    line = _Line(desk if workers.is_first else None)
    try:
        run = TrainRun(
            TrainConfig.model_validate_json(job["config"]),
            job["out"],
            resume=job["resume"] or ray.get(desk.has_started.remote()),
            should_stop=lambda: line.stop,
            on_step=line.step,
            workers=workers,
        )
        line.say(Started(out=run.out, settings=run.settings, num_params=run.num_params, history=tuple(run.history)))
        train(run, line.say)
    except Interrupted as interruption:
        ray.get(desk.finish.remote(End(how="interrupted", reason=str(interruption))))
    except TrainingFailed as failure:  # each worker sees the same loss
        ray.get(desk.finish.remote(End(how="failed", reason=str(failure))))
    except (ValueError, OSError) as error:
        ray.get(desk.finish.remote(End(how="wrong", reason=str(error))))
        raise  # the others wait for this one
    except RuntimeError:
        raise  # as a rule another worker has died, which this one could not reach
    except Exception:
        ray.get(desk.finish.remote(End(how="fault", reason=traceback.format_exc())))
        raise


class _Line:
    """To the desk; of a worker that is not the first one, to nobody."""

    def __init__(self, desk: Any) -> None:
        self._desk, self._said, self.stop = desk, cast(Any, None), False
        self._next = 0.0

    def say(self, news: Started | EpochReport) -> None:
        if self._desk:
            self.stop = ray.get(self._desk.tell.remote(news))

    def step(self, step: int, num_steps: int) -> None:
        """Without waiting for an answer; a step that comes before it, or too soon after the last one, is not told."""
        if self._desk and time.monotonic() >= self._next:
            self._next = time.monotonic() + _POLL_S
            if self._said and ray.wait([self._said], timeout=0)[0]:
                self.stop, self._said = ray.get(self._said), None
            if not self._said:
                self._said = self._desk.tell.remote((step, num_steps))
