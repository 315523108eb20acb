"""What a sampler is shown of a long study: so much that it draws as well, and so little that it stays quick."""

from __future__ import annotations

import copy
from bisect import insort
from collections.abc import Container, Iterator, Sequence

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

MAX_SHOWN = 500
"""Ended trials that TPE is shown. Its model of good trials takes the best tenth of them, but no more than 25: those are
the same 25 from 250 trials on. The others are there for contrast, and each costs time at every draw."""

_Rank = tuple[int, float, float, int]


class BoundedHistory(InMemoryStorage):
    """Optuna's study in memory, of which a sampler sees all that runs and at most ``num_shown`` trials that ended.

    Half are the best, in TPE's order: complete ones by their value, then stopped ones by how far they came and what
    they reached. The others are the last by number, which shows where the search is now. Which trials are shown depends
    on which have ended, not on the order in which they did, so a study that is rebuilt shows the same.

    Failed trials are shown to nobody: no sampler here learns from them. With several objectives there is no such order;
    then the last are shown.
    """

    def __init__(self, num_shown: int = MAX_SHOWN) -> None:
        super().__init__()
        self._num_shown = num_shown
        self._ranked: list[_Rank] = []
        self._ended: list[int] = []
        self._open: dict[int, None] = {}

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """See Optuna."""
        trial_id = super().create_new_trial(study_id, template_trial)
        self._note(self.get_trial(trial_id))
        return trial_id

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """See Optuna."""
        done = super().set_trial_state_values(trial_id, state, values)
        if state.is_finished():
            self._note(self.get_trial(trial_id))
        return done

    def _note(self, trial: FrozenTrial) -> None:
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
        """See Optuna; of many, those that are shown."""
        if states == (TrialState.WAITING,) or len(self._ended) <= self._num_shown:
            return super().get_all_trials(study_id, deepcopy, states)
        trials = self._studies[study_id].trials
        shown = [trials[number] for number in sorted({*self._best(), *self._open})]
        if states is not None:
            shown = [trial for trial in shown if trial.state in states]
        return copy.deepcopy(shown) if deepcopy else shown

    def _best(self) -> Iterator[int]:
        """The best, then the last that are not among them."""
        best = {rank[-1] for rank in self._ranked[: self._num_shown // 2]}
        yield from best
        left = self._num_shown - len(best)
        for number in reversed(self._ended):
            if left == 0:
                return
            if number not in best:
                left -= 1
                yield number


def _rank(trial: FrozenTrial) -> tuple[int, float, float]:
    """Lower is better, in TPE's order."""
    violation = sum(max(0.0, each) for each in trial.constraints.values())
    last = trial.last_step if trial.state == TrialState.PRUNED else None
    group = 2 if violation else 1 if trial.state == TrialState.PRUNED else 0
    assert trial.values is not None
    return group, violation if violation else -float(last or 0), trial.values[0]
