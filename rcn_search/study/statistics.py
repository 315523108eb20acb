"""Statistics of a study, updated trial by trial, so that no event costs a look at all trials."""

from __future__ import annotations

import math
from bisect import insort
from collections import Counter
from dataclasses import dataclass, field

from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.study import Study
from rcn_search.study.trial import State, Trial, at_least_as_good

END_STATES: tuple[State, ...] = ("complete", "pruned", "failed")


@dataclass
class Rung:
    """An epoch at which trials are compared, with the errors there of all that reached it, lowest first.

    ``num_pruned`` counts the trials that were pruned here, or later but before the next rung.
    """

    epoch: int
    errors_pct: list[float] = field(default_factory=list)
    num_pruned: int = 0

    def quantile(self, fraction: float) -> float:
        """Return the lowest error that is not below that of ``fraction`` of the trials."""
        return self.errors_pct[max(0, math.ceil(fraction * len(self.errors_pct)) - 1)]


class StudyStatistics:
    """Counts, Pareto front and rungs of a study; call `update` with each trial that has changed.

    Damaged trials are counted apart, as nothing is known of them. ``num_trials`` counts the trials that are still to be
    proposed, too. ``busy_s`` is summed over trials.
    """

    def __init__(self, study: Study) -> None:
        self.config = study.config
        self.num_damaged = len(study.damaged)
        self.counts: Counter[State] = Counter()
        self.pareto_front: list[Trial] = []
        self.rungs = [Rung(epoch) for epoch in _rung_epochs(study.config)]
        self._rung_at = {rung.epoch: rung for rung in self.rungs}
        self.num_epochs = 0
        self.busy_s = 0.0
        self._num_ended_epochs = 0
        self._ended: set[int] = set()
        self._unfinished: dict[int, tuple[State, int]] = {}  # by number: state and epochs at the last update
        for trial in study.trials:
            self.update(trial)
        self.num_trials = self.num_ended + self.counts["running"] + study.num_remaining

    @property
    def num_ended(self) -> int:
        """Number of trials that have ended."""
        return sum(self.counts[state] for state in END_STATES)

    @property
    def num_remaining_epochs(self) -> float:
        """Expected number of epochs still to train, if the other trials run as long as those that have ended."""
        mean = self._num_ended_epochs / self.num_ended if self.num_ended else self.config.budget.epochs
        expected = (self.num_trials - self.num_ended) * mean - (self.num_epochs - self._num_ended_epochs)
        return max(expected, float(self.num_trials > self.num_ended))

    def update(self, trial: Trial) -> None:
        """Count what is new of a trial; a trial that has ended is counted once."""
        if trial.number in self._ended:
            return
        num_known = 0
        if trial.number in self._unfinished:
            state, num_known = self._unfinished.pop(trial.number)
            self.counts[state] -= 1
        self.counts[trial.state] += 1
        for number in range(num_known + 1, len(trial.epochs) + 1):
            epoch = trial.epochs[number]
            self.busy_s += epoch.train_s + epoch.val_s + epoch.other_s
            if rung := self._rung_at.get(number):
                insort(rung.errors_pct, epoch.val_error_pct)
        self.num_epochs += len(trial.epochs) - num_known
        if trial.result is None:
            self._unfinished[trial.number] = trial.state, len(trial.epochs)
            return
        self._ended.add(trial.number)
        self._num_ended_epochs += len(trial.epochs)
        if trial.state == "pruned":
            reached = [rung for rung in self.rungs if rung.epoch <= len(trial.epochs)]
            for rung in reached[-1:]:
                rung.num_pruned += 1
        if trial.state == "complete" and not self.config.runs:
            self._update_front(trial)

    def _update_front(self, trial: Trial) -> None:
        if not trial.is_feasible or any(at_least_as_good(member, trial) for member in self.pareto_front):
            return
        self.pareto_front = [member for member in self.pareto_front if not at_least_as_good(trial, member)]
        self.pareto_front.append(trial)


def _rung_epochs(config: StudyConfig) -> list[int]:
    """Epochs at which the scheduler compares trials; powers of two if it does so after every epoch, or never."""
    epoch = float(getattr(config.scheduler, "grace_epochs", 1))
    factor = getattr(config.scheduler, "reduction_factor", 2)
    epochs = {config.budget.epochs}
    while epoch < config.budget.epochs:
        epochs.add(math.ceil(epoch))
        epoch *= factor
    return sorted(epochs)
