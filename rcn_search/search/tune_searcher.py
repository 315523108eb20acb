"""Between Ray Tune and the study: suggestions out, epochs and outcomes in."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.tune import Callback
from ray.tune.search import Searcher

from rcn_search import storage
from rcn_search.search.trial_actor import METRIC
from rcn_search.study.records import EpochResult, StudyError
from rcn_search.study.samplers.pbt import copy_checkpoint
from rcn_search.study.space.study_config import LATENCY, NO_PARENT, PARENT
from rcn_search.study.study import Study
from rcn_search.study.synchronous import SynchronousStudy

COMPUTE = "compute.json"
"""Of a synchronous study: precision, memory layout and threads, as its first trial settled them."""
MAX_PROCESS_DEATHS = 2
"""Of one trial: after each it is taken up from its checkpoint, after one more it has failed."""
MAX_FAILED_FIRST = 5
"""A search whose first trials all fail has one cause, and it is not the parameters."""


class StudySearcher(Searcher):  # type: ignore[misc]
    """Asks the study for trials. It learns nothing here: `StudyRecorder` tells the study."""

    def __init__(self, study: Study | SynchronousStudy) -> None:
        super().__init__(metric=METRIC, mode="min")
        self._study = study

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial as the configuration of a `TrialActor`; None while others must end before it is drawn."""
        trial = self._study.ask()
        if trial is None:
            return None if self._study.num_remaining else str(Searcher.FINISHED)
        config = self._study.config
        base = config.train_config({})
        # The data set may have moved since an open trial was suggested; its content is the same.
        config = trial.record.config
        data = config.data.model_copy(update={"uri": base.data.uri})
        train = config.model_copy(update={"data": data, "compute": base.compute})
        parent = trial.record.params.get(PARENT, NO_PARENT)
        if isinstance(parent, int) and parent != NO_PARENT:
            copy_checkpoint(self._study.trials[parent].folder, trial.folder, train)
        return {
            "number": trial.number,
            "folder": trial.folder,
            "train": train.model_dump_json(),
            "base": base.model_dump_json(),
            "compute": storage.join(self._study.uri, COMPUTE) if config.study.trial_batch_size else "",
            "workers": config.budget.workers_per_trial,
            "gpus": config.budget.gpus_per_trial,
            "latency": LATENCY in config.objectives or config.constraints.latency_ms is not None,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: here Tune would swallow what goes wrong, and says of a failed trial only that it failed."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""


class StudyRecorder(Callback):  # type: ignore[misc]
    """Tells the study what Tune's trials report and how they end.

    Attributes:
        busy_s: Time that trials have spent in training steps and validation since the start of this driver.
        other_s: Time that they have spent otherwise: opening runs, saving checkpoints.
        ended_s: When each of them ended, by `time.perf_counter`.
    """

    def __init__(self, study: Study | SynchronousStudy) -> None:
        self._study = study
        self._error: Exception | None = None
        self._given_back: Counter[int] = Counter()
        self.busy_s = 0.0
        self.other_s = 0.0
        self.ended_s: list[float] = []

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """An epoch is over."""
        with self._deferred():
            epochs = [EpochResult.model_validate(epoch) for epoch in result.get("epochs", ())]
            self._study.report(trial.config["number"], epochs, metrics=result.get("measured"))
            for epoch in epochs[-1:]:
                self.busy_s += epoch.train_s + epoch.val_s
                self.other_s += epoch.other_s

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial came to its end, was stopped by the scheduler, or failed and said so."""
        result, number = trial.last_result, trial.config["number"]
        self.ended_s.append(time.perf_counter())
        with self._deferred():
            if "halt" in result:
                raise StudyError(f"trial {number}: {result['halt']}")
            if "failure" in result:
                self._failed(number, result["failure"], result.get("traceback"))
            else:
                self._study.finish(number, "complete" if result["complete"] else "pruned")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process died more often than Tune may start it again; or once, between two trials.

        Then it died while it took up this one, which Tune does not start again: it is given back.
        """
        number = trial.config["number"]
        self.ended_s.append(time.perf_counter())
        with self._deferred():
            if trial.num_failures <= MAX_PROCESS_DEATHS and self._given_back[number] < MAX_PROCESS_DEATHS:
                self._given_back[number] += 1
                self._study.requeue(number)
            else:
                self._failed(number, f"its process died {MAX_PROCESS_DEATHS + 1} times")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Raise here what could not be raised there: Tune swallows or wraps errors of the other methods."""
        if self._error:
            raise self._error

    def _failed(self, number: int, reason: str, traceback: str | None = None) -> None:
        self._study.finish(number, "failed", reason=reason, traceback=traceback)
        ends = [each.state for each in self._study.trials if each.result]
        if len(ends) >= MAX_FAILED_FIRST and set(ends) == {"failed"}:
            raise StudyError(f"the first {len(ends)} trials all failed, the last one because: {reason}")

    @contextmanager
    def _deferred(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._error = self._error or error
