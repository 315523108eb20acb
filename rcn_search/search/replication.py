"""Replication: the best trials of a search are trained again with other seeds before one of them is called the winner.

The best of many trials is best by merit and by luck, and luck does not come again: its error is too low, and another
trial may be better (the winner's curse). So the seed that they were chosen by has no say here, only fresh ones have.

The replicates are a study of rows in the folder of the search, STUDY/replication, run by the same loop: a row for each
trial, chosen once when the search is over. Whatever is interrupted goes on there as in any study.
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
from rcn_search.study.space.study_config import RUN, ReplicationConfig, StudyConfig, overlay
from rcn_search.study.store import StudyStore, study_exists
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.study.winner import REPLICATION, WINNER, Candidate, ReplicationRun, Winner, read_winner, winner_table
from rcn_search.training.exit_status import BEST_NAME

_MAX_NAME = 63 - len(REPLICATION) - 1


def run_replication(
    study: Study, *, check: Callable[[], None], run: Callable[[Study], object], console: Console
) -> Winner | None:
    """Train the best trials of a search again and name the winner, once in the life of the study.

    Args:
        study: The search, all of whose trials have ended.
        check: Raises if we may not write to the study (see `Ledger`).
        run: Runs all trials of a study that are left.
        console: Where the winner is printed.

    Returns:
        None if the study wants no replication or no trial is complete.

    Raises:
        StudyError: No trial got through all its seeds; or see `Study.check`.
    """
    if study.config.replication is None:
        return None
    winner = read_winner(study.uri)
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


def choose_candidates(study: Study, top: int) -> list[Trial]:
    """The best trials within the limits, the best first; a configuration that was drawn twice is one."""
    ranked = sorted(
        (trial.error_pct, trial.number)
        for trial in study.trials
        if trial.state == "complete" and trial.is_feasible and trial.error_pct is not None
    )
    different: dict[str, Trial] = {}
    for _, number in ranked:
        different.setdefault(study.trials[number].record.run_id, study.trials[number])
    return list(different.values())[:top]


def _open_replication(study: Study, options: ReplicationConfig, check: Callable[[], None]) -> Study | None:
    """The replicates' study: as it was started, or started now with the trials that are best now."""
    uri = storage.join(study.uri, REPLICATION)
    fingerprint = StudyStore(study.uri).read_study()["data_fingerprint"]
    if study_exists(uri):
        config = _space(study, options, Study.open(uri).config.runs)
        Study.check(uri, config, fingerprint)
    else:
        rows = {_row_of(trial): _drawn(study.config, trial) for trial in choose_candidates(study, options.top)}
        if not rows:
            return None
        config = _space(study, options, rows)
        check()
        Study.start(uri, config, fingerprint)
    return Study(uri, config, StudyStore(uri, check))


def _space(study: Study, options: ReplicationConfig, rows: dict[str, Values]) -> StudyConfig:
    config = study.config
    return StudyConfig.model_validate(
        {
            "study": {"name": f"{config.study.name[:_MAX_NAME]}-{REPLICATION}"},
            "base": overlay(config.base, {"seed": config.train_config({}).seed + 1}),
            "runs": rows,
            "seeds_per_run": dict.fromkeys(rows, options.seeds),
            "budget": config.budget.model_dump(exclude={"trials"}),
        }
    )


def _row_of(trial: Trial) -> str:
    return f"trial-{trial.number:06d}"


def _drawn(config: StudyConfig, trial: Trial) -> Values:
    """What was drawn for a trial, by path.

    Raises:
        StudyError: This version of rcn-search makes another training of it.
    """
    values = config.draw(lambda path, name, parameter: trial.record.params[name])
    if config.train_config(values).run_id != trial.record.run_id:
        raise StudyError(
            f"trial {trial.number} was another training in the version of rcn-search that ran it, so it cannot be "
            "replicated by this one; use that version, or go on without replicate"
        )
    return values


def _choose_winner(study: Study, replication: Study) -> Winner:
    """Who wins, by the mean over seeds of the errors of the validation images.

    Raises:
        StudyError: No trial got through all its seeds.
    """
    chosen = {_row_of(trial): trial for trial in study.trials}
    whole: list[tuple[Candidate, Array]] = []
    failed: list[Candidate] = []
    for row in replication.config.runs:
        repeats = [each for each in replication.trials if each.record.params[RUN] == row]
        contestant = _candidate(chosen[row], repeats)
        if any(each.state == "failed" for each in repeats):
            failed.append(contestant)
            continue
        error_pct_sn = np.stack([validation_errors(replication.config, each) for each in repeats])
        whole.append((contestant.model_copy(update={"error_pct": float(np.nanmean(error_pct_sn))}), error_pct_sn))
    if not whole:
        reasons = sorted({each.result.reason for each in replication.trials if each.result and each.result.reason})
        raise StudyError(
            f"no trial of {study.uri} got through all its seeds, so that there is no winner: {'; '.join(reasons)}. See "
            f"rcn-search study trials {replication.uri}; without replicate the same line goes on with the best trial"
        )
    (winner, winner_sn), *others = sorted(whole, key=lambda each: (each[0].error_pct, each[0].trial))
    group_n = _validation_groups(replication.config)
    compared = [_compare_with_winner(each, error_pct_sn, winner_sn, group_n) for each, error_pct_sn in others]
    return Winner(
        trial=winner.trial,
        is_tied=any(each.is_tied for each in compared[:1]),
        candidates=(winner, *compared, *failed),
        num_images=int(np.isfinite(winner_sn).all(axis=0).sum()),
    )


def _candidate(trial: Trial, repeats: Sequence[Trial]) -> Candidate:
    assert trial.error_pct is not None
    return Candidate(
        trial=trial.number,
        search_error_pct=trial.error_pct,
        runs=tuple(
            ReplicationRun(
                number=each.number,
                seed=each.record.config.seed,
                error_pct=each.error_pct if each.state == "complete" else None,
                checkpoint=storage.join(each.folder, BEST_NAME),
            )
            for each in repeats
        ),
        error_pct=None,
    )


def _compare_with_winner(contestant: Candidate, error_pct_sn: Array, winner_sn: Array, group_n: Names) -> Candidate:
    difference = seeded_difference(error_pct_sn, winner_sn, group_n)
    found = {
        "minus_winner_pct": difference.mean,
        "interval_pct": difference.interval,
        "p": difference.p,
        "is_tied": difference.is_tie,
    }
    return contestant.model_copy(update=found)


def validation_errors(config: StudyConfig, trial: Trial) -> Array:
    """Errors (n,) in percent of the validation images by a trial's best weights, NaN for those that do not count.

    They are what the trial's own validation error is the mean of: jittered, if the study validates so.
    """
    from rcn_search.data.dataset import num_rows_used, open_dataset  # torch is not needed before
    from rcn_search.training.checkpoint import load_network
    from rcn_search.training.validation import Validator

    data, config = config.train_config({}).data, trial.record.config
    dataset = open_dataset(data.uri)
    num_rows = num_rows_used(dataset.manifest, data.val_split, data.num_val)
    validator = Validator(config, dataset.split(data.val_split), num_rows, dataset.manifest.keypoint_schema)
    network, _ = load_network(storage.join(trial.folder, BEST_NAME))
    error_n, counts_n = validator.image_errors(network)
    error_pct_n: Array = 100 * error_n.where(counts_n, float("nan")).double().numpy()
    return error_pct_n


def _validation_groups(config: StudyConfig) -> Names:
    from rcn_search.data.dataset import num_rows_used, open_dataset

    data = config.train_config({}).data
    dataset = open_dataset(data.uri)
    return dataset.split(data.val_split).group_n[: num_rows_used(dataset.manifest, data.val_split, data.num_val)]
