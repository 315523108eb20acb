"""A bounded view of a long study for the sampler: enough trials to sample as well, few enough to stay fast."""

from __future__ import annotations

import copy
from bisect import insort
from collections.abc import Container, Iterator, Sequence
from itertools import islice

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from rcn_search.study._optuna_private import stored_trials

MAX_SHOWN = 500
"""Ended trials that TPE sees. Its model of good trials takes the best tenth of them, but at most 25: from 250 trials on
those are the same 25. The other trials are its contrast, and each costs time at every draw."""

_Rank = tuple[int, float, float, int]


class BoundedHistory(InMemoryStorage):
    """Optuna's in-memory storage that shows a sampler all running trials and at most ``num_shown`` ended ones.

    Half of these are the best in TPE's order: complete trials by value, then pruned ones by their last epoch and value.
    The others are the last by number, which show where the search is now. The choice depends on which trials have
    ended, not on the order in which they did, so a rebuilt study shows the same. Failed trials are not shown, since no
    sampler here learns from them. With several objectives there is no such order: only the last trials are shown.
    """

    def __init__(self, num_shown: int = MAX_SHOWN) -> None:
        super().__init__()
        self._num_shown = num_shown
        self._ranked: list[_Rank] = []
        self._ended: list[int] = []
        self._open: dict[int, None] = {}

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial, as Optuna's storage does."""
        trial_id = super().create_new_trial(study_id, template_trial)
        self._update(self.get_trial(trial_id))
        return trial_id

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Change a trial's state, as Optuna's storage does."""
        done = super().set_trial_state_values(trial_id, state, values)
        if state.is_finished():
            self._update(self.get_trial(trial_id))
        return done

    def _update(self, trial: FrozenTrial) -> None:
        if not trial.state.is_finished():
            self._open[trial.number] = None
            return
        self._open.pop(trial.number, None)
        if trial.state == TrialState.FAIL:
            return
        insort(self._ended, trial.number)
        if trial.values is not None and len(trial.values) == 1:
            insort(self._ranked, (*_rank(trial), trial.number))

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return all trials, or those that are shown once there are more than ``num_shown``."""
        if states == (TrialState.WAITING,) or len(self._ended) <= self._num_shown:
            return super().get_all_trials(study_id, deepcopy, states)
        trials = stored_trials(self, study_id)
        shown = [trials[number] for number in sorted({*self._shown_numbers(), *self._open})]
        if states is not None:
            shown = [trial for trial in shown if trial.state in states]
        return copy.deepcopy(shown) if deepcopy else shown

    def _shown_numbers(self) -> Iterator[int]:
        """Numbers of the best trials, then of the last ones that are not among them."""
        best = {rank[-1] for rank in self._ranked[: self._num_shown // 2]}
        yield from best
        others = (number for number in reversed(self._ended) if number not in best)
        yield from islice(others, self._num_shown - len(best))


def _rank(trial: FrozenTrial) -> tuple[int, float, float]:
    """Sort key in TPE's order; lower is better."""
    violation = sum(max(0.0, excess) for excess in trial.constraints.values())
    last_epoch = trial.last_step if trial.state == TrialState.PRUNED else None
    group = 2 if violation else 1 if trial.state == TrialState.PRUNED else 0
    assert trial.values is not None
    return group, violation if violation else -float(last_epoch or 0), trial.values[0]
