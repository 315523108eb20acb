"""Run the trials of an opened study with Ray Tune. Importing this takes seconds; a study is opened before."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ray import tune
from ray.tune import Callback, PlacementGroupFactory
from rich.console import Console

from rcn_search.cluster._ray_private import disable_tune_env_propagation
from rcn_search.cluster.credentials import Credentials
from rcn_search.cluster.network_code import check_nodes, local_modules
from rcn_search.cluster.runtime import connect_cluster
from rcn_search.cluster.stop_signal import StopSignal
from rcn_search.search.budget_limit import BudgetLimit, BudgetUsedUp
from rcn_search.search.callbacks import build_callbacks
from rcn_search.search.concurrency import ScaleUpTimeout, plan_slots, print_plan
from rcn_search.search.custom_networks import network_targets
from rcn_search.search.disk_estimate import EstimateProcess, free_disk_bytes
from rcn_search.search.progress import SearchProgress
from rcn_search.search.trial_actor import TrialActor
from rcn_search.search.tune_scheduler import build_scheduler
from rcn_search.search.tune_searcher import MAX_PROCESS_DEATHS, StudyRecorder, StudySearcher
from rcn_search.study.lease import Lease, read_use
from rcn_search.study.study import Study
from rcn_search.study.synchronous import SynchronousStudy


class TuneRunner:
    """Runs the trials of a study, and those of its replication, within one budget.

    ``recorder`` has the time that the trials of the search took, ``limit`` what they used of the budget.
    """

    def __init__(self, study: Study, lease: Lease, stop: StopSignal, *, num_points: int, console: Console) -> None:
        self._study, self._num_points, self._console = study, num_points, console
        self._source = SynchronousStudy(study) if study.config.study.trial_batch_size else study
        self.recorder = StudyRecorder(self._source)
        self._callbacks = build_callbacks(study.config.callbacks, study)
        self.limit = BudgetLimit(study.config.budget, lease, read_use(study.uri))
        self._stop_check = _StopCheck(lease, stop)

    def run_search_trials(self) -> int:
        """Run the trials of the search until none is left or the budget is used up; return how many ran at once."""
        return self._run(self._study, self._source, [self.recorder, *self._callbacks])

    def run_replication_trials(self, runs: Study) -> None:
        """Run all trials of a replication; BudgetUsedUp if the budget does not suffice."""
        self._run(runs, runs, [StudyRecorder(runs)])
        if runs.has_unfinished:
            raise BudgetUsedUp

    def _run(self, study: Study, source: Study | SynchronousStudy, callbacks: Sequence[Callback]) -> int:
        """Start Ray, print the plan, and run trials; return the number that ran at once.

        ``source`` hands out the trials: the study itself or its synchronous view. A callback records results in it.
        """
        if self.limit.reached or not study.num_remaining:
            return 0
        targets = network_targets(study.config)
        estimate = EstimateProcess(study.config, study.num_remaining, self._num_points)  # while Ray starts
        with connect_cluster(local_modules(targets)) as cluster:
            slots = plan_slots(cluster, study.config.budget, study.num_remaining)
            print_plan(self._console, study, slots, cluster, estimate.result(), free_disk_bytes(study.uri))
            check_nodes(targets)
            callbacks = [*callbacks, self._stop_check, ScaleUpTimeout(study.config.budget), self.limit]
            with suppress(BudgetUsedUp):
                while source.num_remaining:  # a trial may be requeued after Tune has asked for the last one
                    _run_tune(study, source, callbacks, slots, self.limit, self._console)
        return slots


def _run_tune(
    study: Study,
    source: Study | SynchronousStudy,
    callbacks: Sequence[Callback],
    slots: int,
    limit: BudgetLimit,
    console: Console,
) -> None:
    """Run Ray Tune once over all trials that are left."""
    budget = study.config.budget
    credentials = Credentials.from_environment(study.uri, study.config.base_config.data.uri)
    disable_tune_env_propagation()
    actor = tune.with_parameters(TrialActor, credentials=credentials)
    actor.__qualname__ = TrialActor.__qualname__  # shown by ps and the dashboard as the name of its processes
    resources = {"CPU": budget.cpus_per_trial, **({"GPU": budget.gpus_per_trial} if budget.gpus_per_trial else {})}
    with (
        tempfile.TemporaryDirectory(prefix="rcn-search-") as scratch,
        SearchProgress(study, console, limit) as progress,
    ):
        tune.run(
            actor,
            name="search",
            storage_path=scratch,
            search_alg=StudySearcher(source),
            scheduler=build_scheduler(source),
            num_samples=study.num_remaining,
            max_concurrent_trials=slots,
            resources_per_trial=PlacementGroupFactory([resources] * budget.workers_per_trial),
            reuse_actors=True,
            max_failures=MAX_PROCESS_DEATHS,
            raise_on_failed_trial=False,
            trial_dirname_creator=lambda trial: f"{trial.config['number']:06d}",
            callbacks=[*callbacks, progress],
            verbose=0,
        )


class _StopCheck(Callback):  # type: ignore[misc]
    """Ends Tune's loop if another process has taken over the study, or if a library swallowed a signal's exception."""

    def __init__(self, lease: Lease, stop: StopSignal) -> None:
        self._lease, self._stop = lease, stop

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Check the signal and the lease."""
        if self._stop.received:
            raise KeyboardInterrupt
        self._lease.check()
