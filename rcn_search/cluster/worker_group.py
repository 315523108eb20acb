"""The workers of a trial beside the first, which is the trial's own actor.

They are started once for each such actor, in its placement group, meet once, and then train trial after trial: what a
nested trainer of Ray Train costs at each trial (docs/explanation/performance.md), they cost at the first one only. They end with
the actor, by whatever it ends, for it is their owner; that needs no dashboard.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray.exceptions import RayActorError, RayError
from ray.util import get_current_placement_group, get_node_ip_address
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rcn_search.cluster.credentials import Credentials
from rcn_search.config.schema import TrainConfig
from rcn_search.training.exit_status import TrainingFailed

if TYPE_CHECKING:
    from rcn_search.training.distributed import Workers
    from rcn_search.training.trainer import TrainRun

_GRACE_S = 10.0
"""For the others to say what happened to them, when this worker could not go on."""
_LOOK_EVERY_S = 1.0

Result = TypeVar("Result")


class WorkerDied(RuntimeError):  # noqa: N818
    """A worker of a trial is gone; the trial can be taken up again."""


class TrialWorker:
    """One of the other workers; an actor."""

    _run: TrainRun | None
    _workers: Workers

    def __init__(self) -> None:
        """Import torch now, while the first worker does."""

    def init_process_group(self, host: str, port: int, rank: int, size: int, device: str, access: Credentials) -> None:
        """Join the others for as long as this process lives."""
        from rcn_search.training.distributed import join, store_at

        access.apply_to_environment()
        self._workers = join(store_at(host, port), rank, size, device)

    def open(self, train: str, folder: str) -> None:
        """The next trial."""
        from rcn_search.training.trainer import TrainRun

        self._run = None  # before there are two of them in memory
        self._run = TrainRun(TrainConfig.model_validate_json(train), folder, resume=True, workers=self._workers)

    def epoch(self) -> None:
        """Train this worker's part of an epoch."""
        assert self._run
        self._run.run_epoch()


class WorkerGroup:
    """All workers of a trial, as the first one has them.

    Attributes:
        size: How many they are.
        gone: Whether they have been disbanded; then another crew is needed.
    """

    def __init__(self, access: Credentials) -> None:
        """Start the others, one in each further bundle of this actor's placement group."""
        group, self._access = get_current_placement_group(), access
        self.size = group.bundle_count
        self._has_met = self.is_shut_down = False
        self._mates = [
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
        """Call a method of the others while this worker does its own part.

        After an error that is not that of all of them alike the crew is gone.

        Raises:
            WorkerDied: One of them is gone.
            Exception: What this one or another one raised.
        """
        try:
            self._meet()
        except (RayError, RuntimeError) as error:
            self.shutdown()
            raise WorkerDied(f"the {self.size} workers of the trial did not meet: {error}") from error
        calls = [getattr(mate, method).remote(*arguments) for mate in self._mates]
        over = Event()
        Thread(target=self._end_failed, args=(calls, over), daemon=True).start()
        try:
            result = local()
            ray.get(calls)
        except Exception as error:
            ended, _ = ray.wait(calls, num_returns=len(calls), timeout=_GRACE_S)
            if isinstance(error, TrainingFailed) and len(ended) == len(calls):
                raise  # all have seen it
            others = [_error_of(call) for call in ended]
            self.shutdown()
            if any(isinstance(each, RayActorError) for each in (error, *others)):
                raise WorkerDied(f"one of the {self.size} workers of the trial died") from error
            # A connection that was closed is a RuntimeError, and what another worker's error came to here.
            causes = sorted(filter(None, others), key=lambda each: isinstance(each, RuntimeError))
            cause = causes[0] if causes else None
            raise (cause if isinstance(error, RuntimeError | RayError) and cause else error) from None
        finally:
            over.set()
        return result

    def _end_failed(self, calls: list[Any], over: Event) -> None:
        """End the process of a worker that failed alone: this one may be in a round with it, and gloo is patient."""
        waiting = dict(zip(calls, self._mates, strict=True))
        while waiting and not over.is_set():
            ended, _ = ray.wait(list(waiting), timeout=_LOOK_EVERY_S)
            for call in ended:
                mate = waiting.pop(call)
                if (error := _error_of(call)) and not isinstance(error, TrainingFailed):  # which all of them have seen
                    ray.kill(mate)

    def _meet(self) -> None:
        from rcn_search.training.distributed import join, new_store

        if self._has_met:
            return
        ray.get([mate.__ray_ready__.remote() for mate in self._mates])  # one that died while it started never meets
        host = get_node_ip_address()
        store = new_store(host)
        meetings = [
            mate.init_process_group.remote(host, store.port, rank, self.size, self._device, self._access)
            for rank, mate in enumerate(self._mates, start=1)
        ]
        join(store, 0, self.size, self._device)
        ray.get(meetings)
        self._has_met = True

    def shutdown(self) -> None:
        """End the other workers."""
        from rcn_search.training.distributed import leave

        self.is_shut_down = True
        for mate in self._mates:
            ray.kill(mate)
        if self._has_met:
            leave()


def _error_of(call: Any) -> Exception | None:
    """What a call that has ended raised."""
    try:
        ray.get(call)
    except RayActorError as error:
        died: Exception = error
        return died
    except RayError as error:
        cause = getattr(error, "cause", None)
        return cause if isinstance(cause, Exception) else RuntimeError(str(error))
    return None
