"""Adapters between Ray Tune and a study: a searcher that asks the study for trials, a callback that records them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.tune import Callback
from ray.tune.search import Searcher

from rcn_search import storage
from rcn_search.config.schema import CheckpointConfig
from rcn_search.search.trial_actor import METRIC, TrialSpec
from rcn_search.study.records import EpochResult, StudyError
from rcn_search.study.samplers.pbt import copy_checkpoint
from rcn_search.study.space.options import Pbt
from rcn_search.study.space.study_config import LATENCY, NO_PARENT, PARENT
from rcn_search.study.study import Study
from rcn_search.study.synchronous import SynchronousStudy

COMPUTE = "compute.json"
"""File of a synchronous study: precision, memory layout and threads, as chosen by the first trial."""
MAX_PROCESS_DEATHS = 2
"""Deaths of a trial's process after which the trial is resumed from its checkpoint; after one more it has failed."""
MAX_FAILED_FIRST = 5
"""A search whose first trials all fail has one cause, which is not their parameters."""


class StudySearcher(Searcher):  # type: ignore[misc]
    """Asks the study for trials. It ignores their results, which `StudyRecorder` records."""

    def __init__(self, study: Study | SynchronousStudy) -> None:
        super().__init__(metric=METRIC, mode="min")
        self._study = study

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Suggest the next trial, as a configuration of `TrialActor`; None while its batch waits for earlier trials."""
        trial = self._study.ask()
        if trial is None:
            return None if self._study.num_remaining else str(Searcher.FINISHED)
        study_config, base_config, config = self._study.config, self._study.config.base_config, trial.config
        # The data set may have moved since an open trial was drawn; its content is the same.
        config = config.model_copy(update={"data": config.data.model_copy(update={"uri": base_config.data.uri})})
        parent = trial.params.get(PARENT, NO_PARENT)
        if isinstance(parent, int) and parent != NO_PARENT:
            copy_checkpoint(self._study.trials[parent].folder, trial.folder, config)
        if isinstance(study_config.scheduler, Pbt):  # others continue from its checkpoint, after any epoch
            config = config.model_copy(update={"checkpoint": CheckpointConfig(every_s=0)})
        spec = TrialSpec(
            number=trial.number,
            folder=trial.folder,
            config=config,
            base_config=base_config,
            shared_compute_uri=storage.join(self._study.uri, COMPUTE) if study_config.study.trial_batch_size else None,
            num_workers=study_config.budget.workers_per_trial,
            gpus_per_worker=study_config.budget.gpus_per_trial,
            measure_latency=LATENCY in study_config.objectives or study_config.constraints.latency_ms is not None,
        )
        return spec.to_tune_config()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: Tune would swallow errors here, and tells no more of a failed trial than that it failed."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study store is the state."""


class StudyRecorder(Callback):  # type: ignore[misc]
    """Records in the study what Tune's trials report and how they end.

    Trials of this process took ``busy_s`` for training and validation and ``other_s`` for opening runs and saving
    checkpoints; ``ended_s`` are the times at which they ended, by `time.perf_counter`.
    """

    def __init__(self, study: Study | SynchronousStudy) -> None:
        self._study = study
        self._error: Exception | None = None
        self._num_requeued: Counter[int] = Counter()
        self.busy_s = self.other_s = 0.0
        self.ended_s: list[float] = []

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Record the epochs of a result."""
        with self._deferred():
            epochs = [EpochResult.model_validate(epoch) for epoch in result.get("epochs", ())]
            self._study.report(trial.config["number"], epochs, metrics=result.get("metrics"))
            for epoch in epochs[-1:]:
                self.busy_s += epoch.train_s + epoch.val_s
                self.other_s += epoch.other_s

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the end of a trial that ended by itself, was pruned, or reported its failure."""
        result, number = trial.last_result, trial.config["number"]
        self.ended_s.append(time.perf_counter())
        with self._deferred():
            if "halt" in result:
                raise StudyError(f"trial {number}: {result['halt']}")
            if "failure" in result:
                self._record_failure(number, result["failure"], result.get("traceback"))
            else:
                self._study.finish(number, "complete" if result["complete"] else "pruned")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the failure of a trial whose process died too often; requeue one that Tune did not restart.

        Tune does not if the process died between two trials, while it prepared for this one.
        """
        number = trial.config["number"]
        self.ended_s.append(time.perf_counter())
        with self._deferred():
            if trial.num_failures <= MAX_PROCESS_DEATHS and self._num_requeued[number] < MAX_PROCESS_DEATHS:
                self._num_requeued[number] += 1
                self._study.requeue(number)
            else:
                self._record_failure(number, f"its process died {MAX_PROCESS_DEATHS + 1} times")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Raise the first error of the other methods, which Tune would swallow or wrap there."""
        if self._error:
            raise self._error

    def _record_failure(self, number: int, reason: str, traceback: str | None = None) -> None:
        self._study.finish(number, "failed", reason=reason, traceback=traceback)
        num_failed = 0
        for trial in self._study.trials:
            if trial.result:
                if trial.state != "failed":
                    return  # at the first of them, so that a failure costs the same in a study of any length
                num_failed += 1
        if num_failed >= MAX_FAILED_FIRST:
            raise StudyError(f"the first {num_failed} trials all failed, the last one because: {reason}")

    @contextmanager
    def _deferred(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._error = self._error or error
