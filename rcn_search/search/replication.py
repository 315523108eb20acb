"""Replication: the best trials of a search are trained again with other seeds, which decide the winner.

The best of many trials is partly lucky, and the luck does not repeat: its error is biased downward, and another trial
may be better (the winner's curse). So the seed by which the trials were chosen has no say; only new seeds decide.

The replication is a fixed-run study in STUDY/replication, with a run for each candidate, and resumes like any study.
The candidates are chosen once, when the search is over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console

from rcn_search import storage
from rcn_search.evaluation.bootstrap import Array
from rcn_search.evaluation.paired import Names, seeded_difference
from rcn_search.study.records import StudyError
from rcn_search.study.space.parameter import Values
from rcn_search.study.space.sections import ReplicationConfig
from rcn_search.study.space.study_config import RUN, StudyConfig, overlay
from rcn_search.study.store import StudyStore, study_exists
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.study.winner import REPLICATION, WINNER, Candidate, ReplicationRun, Winner, read_winner
from rcn_search.study_report.status import winner_table
from rcn_search.training.exit_status import BEST_NAME

_MAX_NAME = 63 - len(REPLICATION) - 1


def run_replication(
    study: Study, *, check: Callable[[], None], run: Callable[[Study], object], console: Console
) -> Winner | None:
    """Train the best trials of an ended search again and choose the winner, once in the life of the study.

    ``check`` raises if this process may not write to the study (see `StudyStore`), and ``run`` runs all remaining
    trials of a study. There is no winner if the study asks for no replication or no trial is complete.

    Raises:
        StudyError: No candidate completed all its seeds, or the replication differs from the one that was started.
    """
    if study.config.replication is None:
        return None
    winner = read_winner(study.uri, study.num_trials)
    if winner is None:
        replication = _open_replication(study, study.config.replication, check)
        if replication is None:
            console.print("no trial is complete: there is nothing to replicate")
            return None
        if replication.num_remaining:
            run(replication)
        winner = _choose_winner(study, replication)
        check()
        storage.write_json(storage.join(study.uri, WINNER), winner.model_dump(mode="json"), if_absent=True)
    console.print(winner_table(winner))
    return winner


def choose_candidates(study: Study, top: int, *, with_baseline: bool = False) -> list[Trial]:
    """Choose the best feasible trials, best first; a configuration that was drawn twice counts once.

    Trial 0, which is the first initial trial, follows as the baseline if it is not among them, even if it was pruned.
    """
    ranked = sorted(
        (trial.error_pct, trial.number)
        for trial in study.trials
        if trial.state == "complete" and trial.is_feasible and trial.error_pct is not None
    )
    distinct: dict[str, Trial] = {}
    for _, number in ranked:
        distinct.setdefault(study.trials[number].run_id, study.trials[number])
    chosen = list(distinct.values())[:top]
    baseline = study.trials[:1] if with_baseline else []
    return chosen + [trial for trial in baseline if chosen and trial.epochs and trial not in chosen]


def _open_replication(study: Study, options: ReplicationConfig, check: Callable[[], None]) -> Study | None:
    """Open the replication study, or start it with the trials that are best now; None if no trial is complete."""
    uri = storage.join(study.uri, REPLICATION)
    fingerprint = StudyStore(study.uri).read_study()["data_fingerprint"]
    if study_exists(uri):
        config = _replication_config(study.config, options, Study.open(uri).config.runs)
        Study.check(uri, config, fingerprint)
    else:
        candidates = choose_candidates(study, options.top, with_baseline=options.baseline)
        if not candidates:
            return None
        runs = {_run_name(trial): _trial_values(study.config, trial) for trial in candidates}
        config = _replication_config(study.config, options, runs)
        check()
        Study.start(uri, config, fingerprint)
    return Study(uri, config, StudyStore(uri, check))


def _replication_config(config: StudyConfig, options: ReplicationConfig, runs: dict[str, Values]) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "study": {"name": f"{config.study.name[:_MAX_NAME]}-{REPLICATION}"},
            "base": overlay(config.base, {"seed": config.base_config.seed + 1}),
            "runs": runs,
            "seeds_per_run": dict.fromkeys(runs, options.seeds),
            "budget": config.budget.model_dump(exclude={"trials"}),
        }
    )


def _run_name(trial: Trial) -> str:
    return f"trial-{trial.number:06d}"


def _trial_values(config: StudyConfig, trial: Trial) -> Values:
    """Return the values of the searched keys in a trial, by path."""
    values = config.draw(lambda path, name, parameter: trial.params[name])
    if config.train_config(values).run_id != trial.run_id:
        raise StudyError(
            f"trial {trial.number} cannot be replicated: this version of rcn-search makes another training of its "
            "parameters than the version that ran it; use that version, or remove replication from the study file"
        )
    return values


def _choose_winner(study: Study, replication: Study) -> Winner:
    """Choose the candidate with the lowest error of the validation images, averaged over seeds."""
    trial_of_run = {_run_name(trial): trial for trial in study.trials}
    completed: list[tuple[Candidate, Array]] = []
    failed: list[Candidate] = []
    for name in replication.config.runs:
        runs = [run for run in replication.trials if run.params[RUN] == name]
        candidate = _candidate(trial_of_run[name], runs)
        if any(run.state == "failed" for run in runs):
            failed.append(candidate)
            continue
        error_pct_sn = np.stack([validation_errors(replication.config, run) for run in runs])
        completed.append((candidate.model_copy(update={"error_pct": float(np.nanmean(error_pct_sn))}), error_pct_sn))
    if not completed:
        reasons = sorted({run.result.reason for run in replication.trials if run.result and run.result.reason})
        raise StudyError(
            f"no trial of {study.uri} completed all its seeds, so there is no winner: {'; '.join(reasons)}. See "
            f"rcn-search study trials {replication.uri}; to evaluate the best trial without replication, remove it "
            "from the study file and resume"
        )
    (winner, winner_sn), *others = sorted(completed, key=lambda pair: (pair[0].error_pct, pair[0].trial))
    group_n = _validation_groups(replication.config)
    compared = [_compare_with_winner(candidate, error_pct_sn, winner_sn, group_n) for candidate, error_pct_sn in others]
    return Winner(
        trial=winner.trial,
        is_tied=any(candidate.is_tied for candidate in compared[:1]),
        candidates=(winner, *compared, *failed),
        num_images=int(np.isfinite(winner_sn).all(axis=0).sum()),
    )


def _candidate(trial: Trial, runs: Sequence[Trial]) -> Candidate:
    assert trial.error_pct is not None
    return Candidate(
        trial=trial.number,
        search_error_pct=trial.error_pct,
        runs=tuple(
            ReplicationRun(
                number=run.number,
                seed=run.config.seed,
                error_pct=run.error_pct if run.state == "complete" else None,
                checkpoint=storage.join(run.folder, BEST_NAME),
            )
            for run in runs
        ),
        error_pct=None,
    )


def _compare_with_winner(candidate: Candidate, error_pct_sn: Array, winner_sn: Array, group_n: Names) -> Candidate:
    difference = seeded_difference(error_pct_sn, winner_sn, group_n)
    changes = {"minus_winner_pct": difference.mean, "interval_pct": difference.interval, "p": difference.p}
    return candidate.model_copy(update={**changes, "is_tied": difference.is_tie})


def validation_errors(config: StudyConfig, trial: Trial) -> Array:
    """Compute the error (n,) of each validation image in percent by a trial's best weights; NaN if it does not count.

    The mean is the trial's own validation error, so images are augmented if the study validates with augmentation.
    """
    from rcn_search.data.dataset import num_rows_used, open_dataset  # torch is not needed before
    from rcn_search.training.checkpoint import load_network
    from rcn_search.training.validation import Validator

    data = config.base_config.data
    dataset = open_dataset(data.uri)
    num_rows, split = num_rows_used(dataset.manifest, data.val_split, data.num_val), dataset.split(data.val_split)
    validator = Validator(trial.config, split, num_rows, dataset.manifest.keypoint_schema)
    network, _ = load_network(storage.join(trial.folder, BEST_NAME))
    error_n, counts_n = validator.image_errors(network)
    error_pct_n: Array = 100 * error_n.where(counts_n, float("nan")).double().numpy()
    return error_pct_n


def _validation_groups(config: StudyConfig) -> Names:
    from rcn_search.data.dataset import num_rows_used, open_dataset

    data = config.base_config.data
    dataset = open_dataset(data.uri)
    return dataset.split(data.val_split).group_n[: num_rows_used(dataset.manifest, data.val_split, data.num_val)]
