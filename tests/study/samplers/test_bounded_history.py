from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from rcn_search.study.samplers.bounded_history import BoundedHistory

optuna.logging.set_verbosity(optuna.logging.WARNING)


def shown_numbers(study: optuna.Study) -> list[int]:
    return [trial.number for trial in study.get_trials(deepcopy=False)]


def add(study: optuna.Study, value: float, *, pruned_at: int | None = None, excess: float = 0.0) -> None:
    """End a trial with a value; pruned in an epoch, or beyond a constraint by some excess."""
    trial = study.ask()
    trial.set_constraint("latency_ms", excess)
    if pruned_at is not None:
        trial.report(value, pruned_at)
    study.tell(trial, None if pruned_at else value, state=TrialState.PRUNED if pruned_at else TrialState.COMPLETE)


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(storage=BoundedHistory(num_shown=4))


def test_bounded_history_shows_all_trials_up_to_its_number(study: optuna.Study) -> None:
    for value in (4.0, 3.0, 2.0, 1.0):
        add(study, value)
    assert shown_numbers(study) == [0, 1, 2, 3]


def test_bounded_history_shows_the_best_half_and_the_last_others(study: optuna.Study) -> None:
    for value in (1.0, 9.0, 2.0, 8.0, 7.0, 6.0):
        add(study, value)
    assert shown_numbers(study) == [0, 2, 4, 5]
    add(study, 0.5)  # now the best, and the last
    assert shown_numbers(study) == [0, 4, 5, 6]


def test_bounded_history_trial_beyond_a_constraint_ranks_last(study: optuna.Study) -> None:
    add(study, 0.1, excess=0.5)
    add(study, 5.0, pruned_at=1)
    add(study, 6.0, pruned_at=3)
    for value in (9.0, 8.5, 8.0):
        add(study, value)
    # Complete ones come first, then pruned ones by their epoch: the best half is 4 and 5, the others are 3 and 2.
    assert shown_numbers(study) == [2, 3, 4, 5]


def test_bounded_history_pruned_trials_rank_by_their_last_epoch(study: optuna.Study) -> None:
    for value, epoch in ((1.0, 1), (9.0, 4), (8.0, 4), (2.0, 2), (3.0, 1), (4.0, 1)):
        add(study, value, pruned_at=epoch)
    assert shown_numbers(study) == [1, 2, 4, 5]


def test_bounded_history_failed_trials_are_not_shown_and_open_ones_always(study: optuna.Study) -> None:
    for value in (1.0, 2.0, 3.0, 4.0, 5.0):
        add(study, value)
    study.tell(study.ask(), state=TrialState.FAIL)
    opened = study.ask()
    assert shown_numbers(study) == [0, 1, 3, 4, opened.number]
