"""How a study stands: counts, front and rungs that are kept up trial by trial, so that nothing looks at all trials."""

from __future__ import annotations

import math
from bisect import insort
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rcn_search.study.objectives import constraint_values, objective_values
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.study import Study
from rcn_search.study.trial import State, Trial

ENDED: tuple[State, ...] = ("complete", "pruned", "failed")


@dataclass
class Rung:
    """An epoch at which trials are compared.

    Attributes:
        epoch: From 1.
        errors_pct: Validation errors there of all trials that reached it, lowest first.
        stopped: Trials that the scheduler stopped here, or later and before the next rung.
    """

    epoch: int
    errors_pct: list[float] = field(default_factory=list)
    num_pruned: int = 0

    def quantile(self, share: float) -> float:
        """The error that ``share`` of the trials here are not above."""
        return self.errors_pct[max(0, math.ceil(share * len(self.errors_pct)) - 1)]


class StudyStatistics:
    """How a study stands; `note` each trial of which something is new.

    Attributes:
        counts: Trials by state.
        front: Complete, feasible trials that no other one is better than; with one objective the best alone.
        rungs: By epoch.
        num_trials: All that there will be.
        num_epochs: All that were trained.
        busy_s: Time that took, summed over trials.
    """

    def __init__(self, study: Study) -> None:
        self.config = study.config
        self.counts: Counter[State] = Counter()
        self.pareto_front: list[Trial] = []
        self.rungs = [Rung(epoch) for epoch in _rung_epochs(study.config)]
        self._rung_at = {rung.epoch: rung for rung in self.rungs}
        self.num_epochs = 0
        self.busy_s = 0.0
        self._ended_epochs = 0
        self._ended: set[int] = set()
        self._unfinished: dict[int, tuple[State, int]] = {}  # number: state and epochs when last noted
        self._values: list[Sequence[float]] = []  # of the front
        for trial in study.trials:
            self.update(trial)
        self.num_trials = self.num_ended + self.counts["running"] + study.num_remaining

    @property
    def num_ended(self) -> int:
        """Trials behind the study."""
        return sum(self.counts[state] for state in ENDED)

    @property
    def num_remaining_epochs(self) -> float:
        """Epochs still to train, at least one, if the rest goes as far as those that ended; all while none has."""
        mean = self._ended_epochs / self.num_ended if self.num_ended else self.config.budget.epochs
        left = (self.num_trials - self.num_ended) * mean - (self.num_epochs - self._ended_epochs)
        return max(left, float(self.num_trials > self.num_ended))

    def update(self, trial: Trial) -> None:
        """Take in what is new of a trial; nothing ever is of one that has ended."""
        if trial.number in self._ended:
            return
        epochs = 0
        if trial.number in self._unfinished:
            state, epochs = self._unfinished.pop(trial.number)
            self.counts[state] -= 1
        self.counts[trial.state] += 1
        for number in range(epochs + 1, len(trial.epochs) + 1):
            epoch = trial.epochs[number]
            self.busy_s += epoch.train_s + epoch.val_s + epoch.other_s
            if rung := self._rung_at.get(number):
                insort(rung.errors_pct, epoch.val_error_pct)
        self.num_epochs += len(trial.epochs) - epochs
        if trial.result is None:
            self._unfinished[trial.number] = trial.state, len(trial.epochs)
            return
        self._ended.add(trial.number)
        self._ended_epochs += len(trial.epochs)
        if trial.state == "pruned":
            reached = [rung for rung in self.rungs if rung.epoch <= len(trial.epochs)]
            for rung in reached[-1:]:
                rung.num_pruned += 1
        if trial.state == "complete" and not self.config.runs:
            self._enter(trial)

    def _enter(self, trial: Trial) -> None:
        assert trial.result is not None
        config, measured = trial.record.config, trial.result.metrics
        if any(excess > 0 for excess in constraint_values(self.config, config, measured).values()):
            return
        values = objective_values(self.config, config, trial.result.epochs, measured)
        if any(_at_least_as_good(others, values) for others in self._values):
            return
        kept = [
            (each, others)
            for each, others in zip(self.pareto_front, self._values, strict=True)
            if not _at_least_as_good(values, others)
        ]
        self.pareto_front = [*(each for each, _ in kept), trial]
        self._values = [*(others for _, others in kept), values]


def _at_least_as_good(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(mine <= its for mine, its in zip(one, other, strict=True))


def _rung_epochs(space: StudyConfig) -> list[int]:
    """Where the scheduler compares trials; every doubling where it does so after each epoch, or never."""
    first = getattr(space.scheduler, "grace_epochs", 1)
    factor = getattr(space.scheduler, "reduction_factor", 2)
    epochs = {space.budget.epochs}
    epoch = float(first)
    while epoch < space.budget.epochs:
        epochs.add(math.ceil(epoch))
        epoch *= factor
    return sorted(epochs)
