"""One search from a study file to a ranked entry: the plan, Ray, the loop, the summary, the winner, the final score."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune import Callback, PlacementGroupFactory
from rich.console import Console

from rcn_search.cluster.credentials import StoreAccess, keep_from_tune
from rcn_search.cluster.runtime import connect_cluster
from rcn_search.cluster.signals import StopSignal, sigterm_as_ctrl_c
from rcn_search.search.callbacks import build_callbacks
from rcn_search.search.concurrency import ScaleUpTimeout, plan_slots, print_plan
from rcn_search.search.disk_estimate import estimate_checkpoint_bytes, free_disk_bytes
from rcn_search.search.open_or_resume import STUDIES as STUDIES
from rcn_search.search.open_or_resume import StudyRequest
from rcn_search.search.progress import SearchProgress
from rcn_search.search.replication import run_replication
from rcn_search.search.test_evaluation import TestResult, evaluate_best_trial
from rcn_search.search.trial_actor import TrialActor
from rcn_search.search.tune_scheduler import build_scheduler
from rcn_search.search.tune_searcher import MAX_PROCESS_DEATHS, StudyRecorder, StudySearcher
from rcn_search.study.identity import settings
from rcn_search.study.lease import HeldClaim, hold
from rcn_search.study.records import Ledger
from rcn_search.study.study import Study
from rcn_search.study.synchronous import Rounds
from rcn_search.study.winner import Winner
from rcn_search.study_report.summary import SearchSummary, idle_s, print_summary


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What came of a search.

    Attributes:
        study: With all its trials.
        summary: Where the time went.
        winner: By its replicates, where the study asks for them.
        final: Score of the best trial, or of all seeds of the winner, on the test split, where the study asks for one.
    """

    study: Study
    summary: SearchSummary
    winner: Winner | None
    test_result: TestResult | None


def run_search(
    space_uri: str,
    *,
    overrides: Sequence[str] = (),
    study_uri: str = "",
    resume: bool = False,
    go_on: bool = False,
    trials: str = "",
    branch: str = "",
    deterministic: bool = False,
    data_uri: str = "",
    board: Callable[[], str],
    console: Console,
) -> SearchResult:
    """Run the study of a YAML file, or go on with it.

    Args:
        space_uri: The study file (see `rcn_search.study.space.study_config`).
        overrides: ``key.path=value`` laid over it.
        study_uri: Folder of the study; by default ``studies/NAME``.
        resume: Go on with the study that is there.
        go_on: The same, where there is one, and with patience for one whose driver may be gone; see `TakeUp`.
        trials: How many, or how many more; see `TakeUp`.
        branch: Name of a child study to start; see `TakeUp`.
        deterministic: Run it in rounds of ``budget.max_concurrent``, repeatable (see `search.rounds`).
        data_uri: Data set, instead of ``base.data.uri``.
        board: Gives the board's URI; called only if the best trial is to be scored, first before the search.
        console: Where to print.

    Raises:
        ConfigError: The study file is wrong.
        DatasetError: The data set is missing or damaged.
        StudyError: There is a study already, or another one, or none to resume; another driver is at work on it; or
            the search cannot go on.
        StorageError: The study's place cannot be used.
        CapacityError: No trial fits on the cluster.
        KeyboardInterrupt: Ctrl-C or SIGTERM; as after every error, the study can be resumed.
    """
    started = time.perf_counter()
    take_up = StudyRequest(
        space_uri=space_uri,
        overrides=overrides,
        study_uri=study_uri,
        resume=resume,
        go_on=go_on,
        trials=trials,
        branch=branch,
        deterministic=deterministic,
        data_uri=data_uri,
    )
    uri, space, manifest = take_up.prepare(console, board)
    with (
        sigterm_as_ctrl_c() as stop,
        hold(uri, settings(space), on_takeover=console.print, patient=go_on) as claim,
    ):
        study = Study(uri, space, Ledger(uri, claim.check))
        driven = Rounds(study) if space.study.trial_batch_size else study
        recorder, slots = StudyRecorder(driven), 0
        told = build_callbacks(space.callbacks, study)  # before Ray: a missing package is said at once

        def run(study: Study, driven: Study | Rounds, callbacks: Sequence[Callback]) -> int:
            with ThreadPoolExecutor(1) as beside:  # networks are counted, with torch, while Ray starts
                room = beside.submit(estimate_checkpoint_bytes, study, manifest.keypoint_schema.num_points)
                with connect_cluster() as cluster:
                    slots = plan_slots(cluster, space.budget, study.num_left)
                    print_plan(console, study, slots, cluster, room.result(), free_disk_bytes(study.uri))
                    while driven.num_left:  # again for a trial that was given back when all others had been asked for
                        guards = [_StopCheck(claim, stop), ScaleUpTimeout(space.budget)]
                        _loop(study, driven, [*callbacks, *guards], slots, console)
            return slots

        try:
            if study.num_left:
                slots = run(study, driven, [recorder, *told])
            summary = SearchSummary(
                slots=slots,
                wall_s=time.perf_counter() - started,
                busy_s=recorder.busy_s,
                other_s=recorder.other_s,
                idle_s=idle_s(recorder.ended_s, slots),
            )
            print_summary(console, study, summary)
            winner = run_replication(
                study, check=claim.check, run=lambda rows: run(rows, rows, [StudyRecorder(rows)]), console=console
            )
            final = evaluate_best_trial(study, winner, board=board, console=console)
        except KeyboardInterrupt:
            again = "the same line" if go_on else "the same line with --resume"
            raise KeyboardInterrupt(f"stopped; {again} goes on with {uri}") from None
    return SearchResult(study=study, summary=summary, winner=winner, test_result=final)


class _StopCheck(Callback):  # type: ignore[misc]
    """Ends the loop when the study is another driver's by now, or a signal came and was swallowed."""

    def __init__(self, claim: HeldClaim, stop: StopSignal) -> None:
        self._claim, self._stop = claim, stop

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._stop.came:
            raise KeyboardInterrupt
        self._claim.check()


def _loop(study: Study, driven: Study | Rounds, callbacks: Sequence[Callback], slots: int, console: Console) -> None:
    """Run all trials that are left. Ends with an error, or with none left.

    Args:
        study: With its trials.
        driven: The study, or the rounds in which it is driven: what trials are asked of.
        callbacks: Told what happens; one of them tells ``driven``.
        slots: Trials at once.
        console: Where to print.
    """
    budget, access = study.space.budget, StoreAccess.of_driver(study.uri, study.space.config({}).data.uri)
    keep_from_tune()
    actor = tune.with_parameters(TrialActor, access=access)
    actor.__qualname__ = TrialActor.__qualname__  # by which ps and the dashboard name its processes
    resources = {"CPU": budget.cpus_per_trial, **({"GPU": budget.gpus_per_trial} if budget.gpus_per_trial else {})}
    with tempfile.TemporaryDirectory(prefix="rcn-search-") as scratch, SearchProgress(study, console) as progress:
        tune.run(
            actor,
            name="search",
            storage_path=scratch,
            search_alg=StudySearcher(driven),
            scheduler=build_scheduler(driven),
            num_samples=study.num_left,
            max_concurrent_trials=slots,
            resources_per_trial=PlacementGroupFactory([resources] * budget.workers_per_trial),
            reuse_actors=True,
            max_failures=MAX_PROCESS_DEATHS,
            raise_on_failed_trial=False,
            trial_dirname_creator=lambda trial: f"{trial.config['number']:06d}",
            callbacks=[*callbacks, progress],
            verbose=0,
        )
