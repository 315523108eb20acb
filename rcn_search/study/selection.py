"""Selection of trials of a study: by state and in an order, or the best one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from rcn_search.study.records import StudyError
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.study.winner import read_winner

SortKey = Literal["number", "error", "epochs", "time"]
_SORT_KEYS: dict[str, Callable[[Trial], float]] = {
    "number": lambda trial: trial.number,
    "error": lambda trial: float("inf") if trial.error_pct is None else trial.error_pct,
    "epochs": lambda trial: -len(trial.epochs),
    "time": lambda trial: -trial.busy_s,
}


def choose_trials(study: Study, *, state: str, sort: SortKey, limit: int | None) -> list[Trial]:
    """Return the trials in ``state``, or all if it is empty, sorted, and at most ``limit`` of them."""
    chosen = [trial for trial in study.trials if state in ("", trial.state)]
    return sorted(chosen, key=lambda trial: (_SORT_KEYS[sort](trial), trial.number))[:limit]


def choose_best(study: Study, number: int | None) -> Trial:
    """Return trial ``number``; if it is None, the winner by replication, or else the best trial.

    Raises:
        StudyError: There is no such trial, or the object that names it is damaged.
    """
    if number is not None:
        return study.trial(number)
    if study.config.runs:
        raise StudyError(f"{study.uri} is a fixed-run study and has no best trial; name one of its runs with --trial")
    if winner := read_winner(study.uri, study.num_trials):
        return study.trial(winner.trial)
    if study.best_trial is None:
        raise StudyError(f"no trial of {study.uri} is complete yet; name a trial with --trial")
    return study.best_trial
