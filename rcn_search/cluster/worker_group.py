"""Worker group of a trial: the trial's own actor, which is the first worker, and the further workers that it starts.

The further workers start once for each such actor, in its placement group, join one process group and then train trial
after trial, so the start is paid once (docs/explanation/performance.md). They end with the actor, their owner in Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeVar, cast

import ray
from ray.exceptions import RayActorError, RayError
from ray.util import get_current_placement_group, get_node_ip_address
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rcn_search.cluster.credentials import Credentials
from rcn_search.config.schema import TrainConfig
from rcn_search.training.exit_status import TrainingFailed

if TYPE_CHECKING:
    from rcn_search.training.distributed import DistributedContext
    from rcn_search.training.trainer import Trainer

_GRACE_S = 10.0
"""Longest wait, after an error of one worker, for the others to raise theirs."""
_CHECK_INTERVAL_S = 1.0

Result = TypeVar("Result")


class WorkerDied(RuntimeError):  # noqa: N818
    """A worker of a trial died; the trial can be resumed by a new worker group."""


class TrialWorker:
    """Actor that is one of the further workers."""

    _trainer: Trainer | None
    _distributed: DistributedContext

    def __init__(self) -> None:
        import rcn_search.training.trainer  # noqa: F401  # imports torch while the first worker does

    def init_process_group(
        self, host: str, port: int, rank: int, size: int, device: str, credentials: Credentials
    ) -> None:
        """Join the process group of all workers, for as long as this process lives."""
        from rcn_search.training.distributed import connect_store, join_group

        credentials.apply_to_environment()
        self._distributed = join_group(connect_store(host, port), rank, size, device)

    def open(self, train: str, folder: str) -> None:
        """Open the run of the next trial; ``train`` is a `TrainConfig` as JSON."""
        from rcn_search.training.trainer import Trainer

        self._trainer = None  # free its memory before the next one needs some
        config = TrainConfig.model_validate_json(train)
        self._trainer = Trainer(config, folder, resume=True, distributed=self._distributed)

    def epoch(self) -> None:
        """Train this worker's part of an epoch."""
        assert self._trainer
        self._trainer.train_epoch()


@dataclass(frozen=True)
class WorkerResult:
    """State of a call of one further worker; its error is a `RayActorError` if the worker died."""

    is_done: bool
    error: Exception | None = None


class WorkerGroup:
    """All workers of a trial, as seen by the first; ``size`` includes it. After a shutdown a new group is needed."""

    def __init__(self, credentials: Credentials) -> None:
        """Start the further workers, one in each further bundle of this actor's placement group."""
        group, self._credentials = get_current_placement_group(), credentials
        self.size = group.bundle_count
        self._has_process_group = self.is_shut_down = False
        self._workers = [
            ray.remote(TrialWorker)
            .options(
                num_cpus=bundle.get("CPU", 0),
                num_gpus=bundle.get("GPU", 0),
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index),
            )
            .remote()
            for index, bundle in enumerate(group.bundle_specs)
            if index
        ]
        self._device = "cuda" if group.bundle_specs[0].get("GPU") else "cpu"

    def run_on_all(self, method: str, *arguments: Any, local: Callable[[], Result]) -> Result:
        """Call a method of the further workers and, at the same time, the part of this worker.

        ``local`` is the part of this worker, whose result is returned. After an error the group is shut down, unless
        every worker raised `TrainingFailed`: then it can train the next trial.

        Raises:
            WorkerDied: A worker died or did not join the process group.
            Exception: The error that caused those of the other workers, see `root_cause`.
        """
        if not self._has_process_group:
            self._init_process_group()
        calls = [getattr(worker, method).remote(*arguments) for worker in self._workers]
        is_over = Event()
        Thread(target=self._kill_failed_workers, args=(calls, is_over), daemon=True).start()
        try:
            result = local()
            ray.get(calls)
        except Exception as error:
            results = _wait(calls, _GRACE_S)
            if isinstance(error, TrainingFailed) and all(other.is_done for other in results):
                raise
            self.shutdown()
            if (cause := root_cause(error, results)) is error:
                raise
            raise cause from None
        finally:
            is_over.set()
        return result

    def shutdown(self) -> None:
        """End the further workers and leave the process group."""
        from rcn_search.training.distributed import leave_group

        self.is_shut_down = True
        for worker in self._workers:
            ray.kill(worker)
        if self._has_process_group:
            leave_group()

    def _kill_failed_workers(self, calls: list[Any], is_over: Event) -> None:
        """Kill a worker that failed alone: this one may wait for its gradients, and gloo waits for half an hour."""
        running = dict(zip(calls, self._workers, strict=True))
        while running and not is_over.is_set():
            ended, _ = ray.wait(list(running), timeout=_CHECK_INTERVAL_S)
            for call in ended:
                worker, error = running.pop(call), _error_of(call)
                if error and not isinstance(error, TrainingFailed):  # which every worker raises
                    ray.kill(worker)

    def _init_process_group(self) -> None:
        from rcn_search.training.distributed import create_store, join_group

        try:
            ray.get([worker.__ray_ready__.remote() for worker in self._workers])  # raises if one died while it started
            store = create_store(host := get_node_ip_address())
            calls = [
                worker.init_process_group.remote(host, store.port, rank, self.size, self._device, self._credentials)
                for rank, worker in enumerate(self._workers, start=1)
            ]
            join_group(store, 0, self.size, self._device)
            ray.get(calls)
        except (RayError, RuntimeError) as error:
            self.shutdown()
            message = f"the {self.size} workers of the trial could not connect to each other: {error}"
            raise WorkerDied(message) from error
        self._has_process_group = True


def root_cause(error: Exception, results: Sequence[WorkerResult]) -> Exception:
    """Choose the error that explains those of the other workers.

    =============================  ==================================  =======================================
    error of the first worker      errors of the others                result
    =============================  ==================================  =======================================
    any                            one is a `RayActorError`            `WorkerDied`
    `RuntimeError` or `RayError`   one is no `RuntimeError`            that one: the others lost the connection
    `RuntimeError` or `RayError`   all are `RuntimeError`              the first of them
    anything else                  any, or none                        the error of the first worker
    =============================  ==================================  =======================================

    The first worker also raises, as a `RayError`, what the call of another one raised.
    """
    errors = [result.error for result in results if result.error]
    if any(isinstance(other, RayActorError) for other in (error, *errors)):
        return WorkerDied(f"one of the {len(results) + 1} workers of the trial died")
    if isinstance(error, RuntimeError | RayError) and errors:
        return next((other for other in errors if not isinstance(other, RuntimeError)), errors[0])
    return error


def _wait(calls: list[Any], timeout_s: float) -> list[WorkerResult]:
    ended, _ = ray.wait(calls, num_returns=len(calls), timeout=timeout_s)
    return [WorkerResult(True, _error_of(call)) if call in ended else WorkerResult(False) for call in calls]


def _error_of(call: Any) -> Exception | None:
    """Return what a call that has ended raised."""
    try:
        ray.get(call)
    except RayActorError as error:
        return cast(Exception, error)
    except RayError as error:
        cause = getattr(error, "cause", None)
        return cause if isinstance(cause, Exception) else RuntimeError(str(error))
    return None
