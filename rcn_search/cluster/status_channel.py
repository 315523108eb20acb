"""Actor that passes status messages from training workers to the command line, and the wish to stop the other way."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rcn_search.cluster.credentials import Credentials
from rcn_search.config.schema import FrozenModel
from rcn_search.training.compute_settings import ComputeSettings
from rcn_search.training.epoch_report import EpochReport

POLL_INTERVAL_S = 0.2
"""Interval at which the command line fetches messages, and the shortest one between two reports of a step."""


class RunStarted(FrozenModel):
    """Message of the first worker before it trains; ``history`` holds the epochs that were trained before."""

    out: str
    settings: ComputeSettings
    num_params: int
    start: str  # weights that the run started from, in words; empty if they were random
    history: tuple[EpochReport, ...]


class StepDone(NamedTuple):
    """Message of the first worker after a training step; steps of an epoch are counted from 1."""

    step: int
    num_steps: int


StatusMessage = RunStarted | EpochReport | StepDone


class TrainingEnd(FrozenModel):
    """How a training ended: ``user_error`` is one that a user can mend, ``crashed`` a bug. The reason is for users."""

    status: Literal["done", "interrupted", "failed", "user_error", "crashed"]
    reason: str = ""


@dataclass(frozen=True)
class WorkerOrders:
    """Answer to a worker that registers: whether it resumes the run of workers that died, or has nothing left to do."""

    credentials: Credentials
    resume: bool
    has_ended: bool


class StatusChannel:
    """Actor that holds the messages and the state of one training."""

    def __init__(self) -> None:
        self._credentials = Credentials({})
        self._messages: list[StatusMessage] = []
        self._stop = self._has_worker = self._has_started = False
        self._end: TrainingEnd | None = None

    def set_credentials(self, credentials: Credentials) -> None:
        """Set what workers are given. Not in the constructor, because Ray keeps a record of its arguments."""
        self._credentials = credentials

    def register(self) -> WorkerOrders:
        """Register a worker: the first call of each."""
        self._has_worker = True
        return WorkerOrders(self._credentials, self._has_started, self._end is not None)

    def send(self, message: StatusMessage) -> bool:
        """Add a message of the first worker, and return whether it must stop."""
        self._messages.append(message)
        self._has_started |= isinstance(message, RunStarted)
        return self._stop

    def drain(self, stop: bool) -> list[StatusMessage]:
        """Return the messages since the last call, and set whether the workers must stop."""
        messages, self._messages, self._stop = self._messages, [], stop
        return messages

    def cancel_start(self) -> bool:
        """End the training if no worker has registered yet; return whether that is so."""
        if not self._has_worker:
            self.finish(TrainingEnd(status="interrupted", reason="stopped before the workers had started"))
        return not self._has_worker

    def finish(self, end: TrainingEnd) -> None:
        """Set how the training ended. The first call counts: the errors of other workers follow from its reason."""
        self._end = self._end or end

    def has_worker(self) -> bool:
        """Whether a worker has registered."""
        return self._has_worker

    def end(self) -> TrainingEnd:
        """How the training ended; ``done`` where no worker has reported anything else."""
        return self._end or TrainingEnd(status="done")


def start_status_channel() -> Any:
    """Start the actor on the node of this process, on which the training depends anyway; any other might be removed."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(StatusChannel).options(num_cpus=0, scheduling_strategy=here).remote()


class StatusReporter:
    """Sends the first worker's messages to a `StatusChannel`, which answers whether to ``stop``; others have None."""

    def __init__(self, channel: Any) -> None:
        self.stop = False
        self._channel, self._answer, self._next_step = channel, cast(Any, None), 0.0

    def report(self, message: RunStarted | EpochReport) -> None:
        """Send a message and wait for the answer."""
        if self._channel:
            self.stop = ray.get(self._channel.send.remote(message))

    def report_step(self, step: int, num_steps: int) -> None:
        """Send a step without waiting; drop it if the last one was just sent or is not answered yet."""
        if self._channel and time.monotonic() >= self._next_step:
            self._next_step = time.monotonic() + POLL_INTERVAL_S
            if self._answer and ray.wait([self._answer], timeout=0)[0]:
                self.stop, self._answer = ray.get(self._answer), None
            if not self._answer:
                self._answer = self._channel.send.remote(StepDone(step, num_steps))
