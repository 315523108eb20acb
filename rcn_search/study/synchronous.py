"""Repeatable studies: what is proposed and what is pruned does not depend on a clock.

Trials come in batches of ``study.trial_batch_size``. A batch is proposed as a whole when all trials of the one before
have ended, so the sampler always knows the same trials. The pruner gets the epochs of a batch in a fixed order: all
first epochs by trial number, then all second epochs, and so on (see `OrderedPruner`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rcn_search.study.pruning import Pruner, build_pruner
from rcn_search.study.records import EpochResult
from rcn_search.study.study import Study
from rcn_search.study.trial import EndState, Trial


@dataclass
class _TrialState:
    """What an `OrderedPruner` knows of a trial."""

    errors_pct: dict[int, float] = field(default_factory=dict)  # as reported, by epoch
    num_epochs: int | None = None  # all epochs, once known
    num_decided: int = 0  # epochs that the pruner has decided on
    is_pruned: bool = False

    @property
    def is_decided(self) -> bool:
        return self.num_epochs is not None and self.num_decided >= self.num_epochs


class OrderedPruner:
    """Takes the epochs of a batch in any order, and passes them to another pruner in a fixed one.

    The decisions on a batch of four trials with three epochs are made in this order:

                  epoch 1   epoch 2   epoch 3
        trial 0      1         5         9
        trial 1      2         6        10
        trial 2      3         7        11
        trial 3      4         8        12

    Say trial 0 is the fastest and has reported all three epochs before the others report any. Then only decision 1 is
    made. Trial 0 need not wait: it trains ahead of the decisions on it. Once trials 1, 2 and 3 have reported their
    first epochs, decisions 2 to 5 are made. If decision 5 is to prune trial 0, its third epoch is dropped, as if it had
    been stopped in time, and decision 9 is skipped. So the order in which epochs are reported makes no difference.
    """

    def __init__(self, pruner: Pruner, max_epochs: int) -> None:
        self._pruner, self._max_epochs = pruner, max_epochs
        self.start_batch(())

    def start_batch(self, trials: Sequence[int]) -> None:
        """Start a batch of trials; their numbers are in the order of the decisions."""
        self._states = {trial: _TrialState() for trial in trials}
        self._order = ((epoch, trial) for epoch in range(1, self._max_epochs + 1) for trial in trials)
        self._next = next(self._order, None)

    def report(self, trial: int, epoch: int, error_pct: float) -> bool:
        """Record a validation error; whether it is decided by now that the trial is pruned."""
        state = self._states[trial]
        state.errors_pct.setdefault(epoch, error_pct)
        if epoch == self._max_epochs and state.num_epochs is None:
            state.num_epochs = epoch
        self._decide()
        return state.is_pruned

    def end_trial(self, trial: int) -> None:
        """Record that a trial ended without being pruned: it will report no more epochs."""
        state = self._states[trial]
        if state.num_epochs is None:
            state.num_epochs = max(state.errors_pct, default=0)
        self._decide()

    def num_decided_epochs(self, trial: int) -> int:
        """Number of epochs of a trial that are decided on, and thus certain to be part of it."""
        return self._states[trial].num_decided

    def is_pruned(self, trial: int) -> bool:
        """Whether it is decided that a trial is pruned."""
        return self._states[trial].is_pruned

    def is_decided(self, trial: int) -> bool:
        """Whether all epochs of a trial are decided on."""
        return self._states[trial].is_decided

    def _decide(self) -> None:
        """Make all decisions whose epochs have been reported."""
        while self._next is not None:
            epoch, trial = self._next
            state = self._states[trial]
            if state.num_epochs is None or epoch <= state.num_epochs:
                if epoch not in state.errors_pct:
                    return
                prune = self._pruner.report(trial, epoch, state.errors_pct[epoch])
                state.num_decided = epoch
                if prune and epoch < self._max_epochs:
                    state.num_epochs, state.is_pruned = epoch, True
            self._next = next(self._order, None)


@dataclass
class _RunningTrial:
    """What a running trial of the batch has reported ahead of the decisions."""

    epochs: dict[int, EpochResult] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    end: tuple[EndState, str | None, str | None] | None = None


class SynchronousStudy:
    """A study that is run in batches, with the same interface as `Study`."""

    def __init__(self, study: Study) -> None:
        config = study.config
        assert config.study.trial_batch_size is not None
        self._study, self.batch_size = study, config.study.trial_batch_size
        self.uri, self.config, self.trials = study.uri, config, study.trials
        self.pruner = OrderedPruner(build_pruner(config.scheduler, config.budget.epochs), config.budget.epochs)
        self._running: dict[int, _RunningTrial] = {}
        self._proposed: deque[Trial] = deque()
        self._unfinished_batch: list[Trial] = []
        for batch in _batches(study.trials, self.batch_size):
            if sum(map(_counts, batch)) < self.batch_size or not all(trial.result for trial in batch):
                self._unfinished_batch = batch  # the last one, which is continued
            else:
                self._start_batch(batch)

    @property
    def num_remaining(self) -> int:
        """Number of trials still to run."""
        return len(self._proposed) + self._study.num_remaining

    def ask(self) -> Trial | None:
        """Return the next trial to run; None if there is none, or until the batch has ended."""
        if not self._proposed and not self._running:
            self._propose_batch()
        return self._proposed.popleft() if self._proposed else None

    def report(self, number: int, epochs: Iterable[EpochResult], *, metrics: Mapping[str, float] | None = None) -> None:
        """Record epochs of a running trial; the study gets them once they are decided on."""
        running = self._running[number]
        running.metrics = {**(metrics or {}), **running.metrics}
        for epoch in epochs:
            running.epochs.setdefault(epoch.epoch, epoch)
            self.pruner.report(number, epoch.epoch, epoch.val_error_pct)
        self._commit_decided()

    def requeue(self, number: int) -> None:
        """Return a trial that was not run to its end; `ask` gives it out again."""
        self._proposed.append(self.trials[number])

    def finish(self, number: int, state: EndState, *, reason: str | None = None, traceback: str | None = None) -> None:
        """Record the end of a running trial; it is published once its last epoch is decided on."""
        self._running[number].end = (state, reason, traceback)
        if state != "pruned":  # else the pruner has decided it
            self.pruner.end_trial(number)
        self._commit_decided()

    def _propose_batch(self) -> None:
        """Propose a batch, or the rest of one that was interrupted, or was the last of a study that is extended."""
        ended = [trial for trial in self._unfinished_batch if trial.result]
        num_missing = self.batch_size - sum(map(_counts, ended))
        proposed: list[Trial] = []
        while len(proposed) < num_missing and (trial := self._study.ask()):
            proposed.append(trial)
        self._start_batch(sorted([*ended, *proposed], key=lambda trial: trial.number))
        self._unfinished_batch = []
        self._proposed.extend(proposed)
        self._running = {trial.number: _RunningTrial() for trial in proposed}

    def _start_batch(self, trials: Sequence[Trial]) -> None:
        self.pruner.start_batch([trial.number for trial in trials])
        for trial in trials:
            if trial.result:
                for epoch in trial.result.epochs:
                    self.pruner.report(trial.number, epoch.epoch, epoch.val_error_pct)
                self.pruner.end_trial(trial.number)

    def _commit_decided(self) -> None:
        """Pass the decided epochs and ends to the study."""
        for number, running in list(self._running.items()):
            num_decided = self.pruner.num_decided_epochs(number)
            decided = [running.epochs.pop(epoch) for epoch in sorted(running.epochs) if epoch <= num_decided]
            self._study.report(number, decided, metrics=running.metrics)
            if running.end and self.pruner.is_decided(number):
                state, reason, traceback = running.end
                del self._running[number]
                if self.pruner.is_pruned(number):
                    state, reason, traceback = "pruned", None, None
                self._study.finish(number, state, reason=reason, traceback=traceback)


def _counts(trial: Trial) -> bool:
    """Whether a trial counts as a member of a batch: not if it exceeded a constraint before any training."""
    return not (trial.state == "pruned" and not trial.epochs)


def _batches(trials: Iterable[Trial], batch_size: int) -> Iterator[list[Trial]]:
    batch: list[Trial] = []
    for trial in trials:
        if sum(map(_counts, batch)) == batch_size:
            yield batch
            batch = []
        batch.append(trial)
    if batch:
        yield batch
