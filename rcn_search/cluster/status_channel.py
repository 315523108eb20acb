"""Where the workers of a training and its command line leave word for each other."""

from __future__ import annotations

import time
from typing import Any, Literal, cast

import ray

from rcn_search.cluster.credentials import Credentials
from rcn_search.config.schema import FrozenModel
from rcn_search.training.compute_probe import ComputeSettings
from rcn_search.training.epoch_report import EpochReport

POLL_S = 0.2
"""How often they look for news of each other."""


class RunStarted(FrozenModel):
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


class TrainingEnd(FrozenModel):
    """How a training ended: ``done``, ``interrupted``, ``failed``, or something is ``wrong`` that a user can mend."""

    how: Literal["done", "interrupted", "failed", "wrong", "fault"]
    reason: str = ""


StatusMessage = RunStarted | EpochReport | tuple[int, int]
"""The last is a step of the epoch, from 1, and the steps of an epoch."""


class StatusChannel:
    """An actor beside the workers and the command line."""

    def __init__(self) -> None:
        self._access = Credentials({})
        self._news: list[StatusMessage] = []
        self._stop, self._arrived, self._started, self._end = False, False, False, TrainingEnd(how="done")

    def lend(self, access: Credentials) -> None:
        """To the run's and the data's places; not when the actor is made, for Ray keeps what it was made with."""
        self._access = access

    def access(self) -> Credentials:
        """As it was lent, to a worker: the first thing that each of them asks for."""
        self._arrived = True
        return self._access

    def has_arrived(self) -> bool:
        """Whether a worker has come."""
        return self._arrived

    def give_up(self) -> bool:
        """End it if no worker has come yet; those that come later find it at its end. Returns whether it is."""
        if not self._arrived:
            self.finish(TrainingEnd(how="interrupted", reason="stopped before the workers had started"))
        return not self._arrived

    def tell(self, news: StatusMessage) -> bool:
        """Something new of the first worker. Returns whether it is to stop."""
        self._news.append(news)
        self._started |= isinstance(news, RunStarted)
        return self._stop

    def has_started(self) -> bool:
        """Whether these workers have begun with the run before one of them died."""
        return self._started

    def take(self, stop: bool) -> list[StatusMessage]:
        """What was told since; and whether the workers are to stop from now on."""
        news, self._news, self._stop = self._news, [], stop
        return news

    def finish(self, end: TrainingEnd) -> None:
        """A worker is at its end; the first reason counts, for it is that of the others."""
        if self._end.how == "done":
            self._end = end

    def end(self) -> TrainingEnd:
        """As it is known."""
        return self._end


class StatusReporter:
    """To the desk; of a worker that is not the first one, to nobody.

    Attributes:
        stop: Whether the worker is to stop, as far as it was told.
    """

    def __init__(self, desk: Any) -> None:
        self._desk, self._said, self.stop = desk, cast(Any, None), False
        self._next = 0.0

    def say(self, news: RunStarted | EpochReport) -> None:
        """With an answer."""
        if self._desk:
            self.stop = ray.get(self._desk.tell.remote(news))

    def step(self, step: int, num_steps: int) -> None:
        """Without waiting for an answer; a step that comes before it, or too soon after the last one, is not told."""
        if self._desk and time.monotonic() >= self._next:
            self._next = time.monotonic() + POLL_S
            if self._said and ray.wait([self._said], timeout=0)[0]:
                self.stop, self._said = ray.get(self._said), None
            if not self._said:
                self._said = self._desk.tell.remote((step, num_steps))
