"""A search from a study file to a leaderboard entry: plan, Ray, trials, summary, winner, test evaluation."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console

from rcn_search.cluster.stop_signal import sigterm_as_keyboard_interrupt
from rcn_search.printable import PlainConsole
from rcn_search.search.calibrate_winner import calibrate_winner
from rcn_search.search.open_or_resume import StudyRequest, open_or_resume
from rcn_search.search.replication import run_replication
from rcn_search.search.test_evaluation import TestResult, evaluate_best_trial
from rcn_search.study.identity import resume_settings
from rcn_search.study.lease import acquire
from rcn_search.study.store import StudyStore
from rcn_search.study.study import Study
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
        # Ray takes seconds to import. Whatever is wrong with the request has been told by now.
        from rcn_search.cluster.cluster_address import ClusterError
        from rcn_search.search.budget_limit import BudgetUsedUp
        from rcn_search.search.tune_run import TuneRunner

        study, num_points = Study(uri, config, StudyStore(uri, lease.check)), manifest.keypoint_schema.num_points
        runner = TuneRunner(study, lease, stop, num_points=num_points, console=console)
        winner = test_result = None
        try:
            slots = runner.run_search_trials()
            summary = SearchSummary(
                slots=slots,
                wall_s=time.perf_counter() - started,
                busy_s=runner.recorder.busy_s,
                other_s=runner.recorder.other_s,
                idle_s=idle_s(runner.recorder.ended_s, slots),
            )
            print_summary(console, study, summary)
            runner.limit.print_use(console)
            if study.has_unfinished:
                raise BudgetUsedUp
            winner = run_replication(study, check=lease.check, run=runner.run_replication_trials, console=console)
            calibrate_winner(study, winner, console)
            test_result = evaluate_best_trial(study, winner, leaderboard=leaderboard, console=console)
        except BudgetUsedUp:
            runner.limit.print_used_up(console, study)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped; {request.resuming_command} resumes {uri}") from None
        except ClusterError as error:
            raise ClusterError(f"{error}. Then {request.resuming_command} resumes {uri}") from error
    return SearchResult(study=study, summary=summary, winner=winner, test_result=test_result)
