"""A search from a study file to a leaderboard entry: plan, Ray, trials, summary, winner, test evaluation."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from ray import tune
from ray.tune import Callback, PlacementGroupFactory
from rich.console import Console

from rcn_search.cluster._ray_private import disable_tune_env_propagation
from rcn_search.cluster.cluster_address import ClusterError
from rcn_search.cluster.credentials import Credentials
from rcn_search.cluster.runtime import StopSignal, connect_cluster, sigterm_as_keyboard_interrupt
from rcn_search.printable import PlainConsole
from rcn_search.search.budget_limit import BudgetLimit, BudgetUsedUp
from rcn_search.search.callbacks import build_callbacks
from rcn_search.search.concurrency import ScaleUpTimeout, plan_slots, print_plan
from rcn_search.search.disk_estimate import estimate_checkpoint_bytes, free_disk_bytes
from rcn_search.search.open_or_resume import StudyRequest, open_or_resume
from rcn_search.search.progress import SearchProgress
from rcn_search.search.replication import run_replication
from rcn_search.search.test_evaluation import TestResult, evaluate_best_trial
from rcn_search.search.trial_actor import TrialActor
from rcn_search.search.tune_scheduler import build_scheduler
from rcn_search.search.tune_searcher import MAX_PROCESS_DEATHS, StudyRecorder, StudySearcher
from rcn_search.study.identity import resume_settings
from rcn_search.study.lease import Lease, acquire, read_use
from rcn_search.study.store import StudyStore
from rcn_search.study.study import Study
from rcn_search.study.synchronous import SynchronousStudy
from rcn_search.study.winner import Winner
from rcn_search.study_report.summary import SearchSummary, idle_s, print_summary


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """Result of a search; no winner or test result if the study asks for no replication or test evaluation."""

    study: Study
    summary: SearchSummary
    winner: Winner | None
    test_result: TestResult | None


def run_search(
    request: StudyRequest, *, leaderboard: str | None = None, console: Console | None = None
) -> SearchResult:
    """Start or resume a study, run its trials on Ray, and evaluate the best one.

    Args:
        request: The study to run.
        leaderboard: URI of the leaderboard; needed if the study file has a ``test`` section.
        console: Where to print.

    Raises:
        ConfigError: The study file or an option is wrong, or a leaderboard is needed and missing.
        DatasetError: The data set is missing or damaged.
        StudyError: A study that is to be started exists, one that is to be resumed does not, or is another study;
            another process runs it; or the search cannot continue.
        StorageError: The location of the study or the leaderboard cannot be used.
        CapacityError: No trial fits on the cluster.
        KeyboardInterrupt: Ctrl-C or SIGTERM. The study can be resumed, as after every error.
    """
    started = time.perf_counter()
    console = console or PlainConsole()
    uri, config, manifest = open_or_resume(request, leaderboard=leaderboard, console=console)
    with (
        sigterm_as_keyboard_interrupt() as stop,
        acquire(uri, resume_settings(config), on_status=console.print, wait=request.auto_resume) as lease,
    ):
        study = Study(uri, config, StudyStore(uri, lease.check))
        source = SynchronousStudy(study) if config.study.trial_batch_size else study
        recorder = StudyRecorder(source)
        # Before Ray starts, which takes seconds: the package of a callback may be missing.
        callbacks = build_callbacks(config.callbacks, study)
        limit = BudgetLimit(config.budget, lease, read_use(uri))
        num_points, stop_check = manifest.keypoint_schema.num_points, _StopCheck(lease, stop)
        run_trials = partial(_run_trials, limit=limit, stop_check=stop_check, num_points=num_points, console=console)
        run_replication_trials = partial(_run_replication_trials, run_trials=run_trials)
        winner = test_result = None
        try:
            slots = run_trials(study, source, [recorder, *callbacks])
            summary = SearchSummary(
                slots=slots,
                wall_s=time.perf_counter() - started,
                busy_s=recorder.busy_s,
                other_s=recorder.other_s,
                idle_s=idle_s(recorder.ended_s, slots),
            )
            print_summary(console, study, summary)
            limit.print_use(console)
            if study.has_unfinished:
                raise BudgetUsedUp
            winner = run_replication(study, check=lease.check, run=run_replication_trials, console=console)
            test_result = evaluate_best_trial(study, winner, leaderboard=leaderboard, console=console)
        except BudgetUsedUp:
            limit.print_used_up(console, study)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped; {request.resuming_command} resumes {uri}") from None
        except ClusterError as error:
            raise ClusterError(f"{error}. Then {request.resuming_command} resumes {uri}") from error
    return SearchResult(study=study, summary=summary, winner=winner, test_result=test_result)


def _run_replication_trials(runs: Study, run_trials: Callable[..., int]) -> None:
    run_trials(runs, runs, [StudyRecorder(runs)])
    if runs.has_unfinished:
        raise BudgetUsedUp


def _run_trials(
    study: Study,
    source: Study | SynchronousStudy,
    callbacks: Sequence[Callback],
    *,
    limit: BudgetLimit,
    stop_check: _StopCheck,
    num_points: int,
    console: Console,
) -> int:
    """Start Ray, print the plan, and run trials until none is left; return the number that ran at once.

    ``source`` hands out the trials: the study itself or its synchronous view. A callback records results in it. When
    the budget is used up, trials are left that have not ended.
    """
    if limit.reached or not study.num_remaining:
        return 0
    with ThreadPoolExecutor(1) as executor:  # counts the networks' parameters, which imports torch, while Ray starts
        estimate = executor.submit(estimate_checkpoint_bytes, study, num_points)
        with connect_cluster() as cluster:
            slots = plan_slots(cluster, study.config.budget, study.num_remaining)
            print_plan(console, study, slots, cluster, estimate.result(), free_disk_bytes(study.uri))
            callbacks = [*callbacks, stop_check, ScaleUpTimeout(study.config.budget), limit]
            with suppress(BudgetUsedUp):
                while source.num_remaining:  # a trial may be requeued after Tune has asked for the last one
                    _run_tune(study, source, callbacks, slots, limit, console)
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
