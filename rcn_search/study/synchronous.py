"""The synchronous mode: what is drawn and what is stopped depends on no clock.

Trials come in rounds of ``study.synchronous``. A round is drawn whole when all trials of the one before have ended, so
the sampler always knows the same. The stopping rule is told of the epochs of a round in a fixed order: all first
epochs by the trials' numbers, then all second ones. A trial that is ahead of that order trains on; if its turn shows
that it was to be stopped earlier, its later epochs are dropped, as if it had been.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rcn_search.study.pruning import Pruner, build_pruner
from rcn_search.study.records import EpochResult
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.study import Study
from rcn_search.study.trial import EndState, Trial


class OrderedPruner:
    """A stopping rule that may be told of epochs in any order, and tells another of them in the fixed one."""

    def __init__(self, rule: Pruner, max_epochs: int) -> None:
        self._rule, self._max_epochs = rule, max_epochs
        self._round: Sequence[int] = ()
        self._epoch, self._place = 1, 0  # whose turn it is
        self._errors: dict[int, dict[int, float]] = defaultdict(dict)
        self._last: dict[int, int] = {}  # epochs of a trial in all, once they are known
        self._judged: dict[int, int] = {}
        self._stopped: set[int] = set()

    def start_batch(self, trials: Sequence[int]) -> None:
        """A round of these trials, in the order of their turns."""
        self._round, self._epoch, self._place = trials, 1, 0
        self._errors, self._last, self._judged = defaultdict(dict), {}, dict.fromkeys(trials, 0)
        self._stopped = set()

    def report(self, trial: int, epoch: int, error_pct: float) -> bool:
        """Note an error; whether it is known by now that the trial is to be stopped."""
        self._errors[trial].setdefault(epoch, error_pct)
        if epoch == self._max_epochs:
            self._last.setdefault(trial, epoch)
        self._take()
        return self.is_pruned(trial)

    def end_trial(self, trial: int) -> None:
        """A trial of the round came to an end without being stopped; there will be no more of its epochs."""
        self._last.setdefault(trial, max(self._errors[trial], default=0))
        self._take()

    def num_decided_epochs(self, trial: int) -> int:
        """Epochs of a trial of the round that had their turn: those that it has for certain."""
        return self._judged[trial]

    def is_pruned(self, trial: int) -> bool:
        """Whether its turn showed that it is to be stopped."""
        return trial in self._stopped

    def is_decided(self, trial: int) -> bool:
        """Whether all there will be of a trial of the round had its turn."""
        return trial in self._last and self._judged[trial] >= self._last[trial]

    def _take(self) -> None:
        """Every turn that can be taken."""
        while not all(map(self.is_decided, self._round)):
            trial = self._round[self._place]
            if self._epoch <= self._last.get(trial, self._max_epochs):
                error_pct = self._errors[trial].get(self._epoch)
                if error_pct is None:
                    return
                stop = self._rule.report(trial, self._epoch, error_pct)
                self._judged[trial] = self._epoch
                if stop and self._epoch < self._max_epochs:
                    self._last[trial] = self._epoch
                    self._stopped.add(trial)
            self._place = (self._place + 1) % len(self._round)
            self._epoch += self._place == 0


@dataclass
class _Running:
    """A trial of the round, with what it said ahead of its turn."""

    epochs: dict[int, EpochResult]
    measured: Mapping[str, float]
    end: tuple[EndState, str | None, str | None] | None = None


class SynchronousStudy:
    """A study driven in rounds; what it is asked and told is what a `Study` is.

    Attributes:
        turns: Its stopping rule.
        size: Trials of a round.
    """

    def __init__(self, study: Study) -> None:
        space = study.config
        assert space.study.trial_batch_size is not None
        self._study, self.batch_size = study, space.study.trial_batch_size
        self.pruner = OrderedPruner(build_pruner(space.scheduler, space.budget.epochs), space.budget.epochs)
        self._running: dict[int, _Running] = {}
        self._drawn: deque[Trial] = deque()
        self._earlier: list[Trial] = []
        for each in _rounds(study.trials, self.batch_size):
            if sum(map(_counts, each)) < self.batch_size or not all(trial.result for trial in each):
                self._earlier = each  # the last one: it is gone on with
            else:
                self._begin(each)

    @property
    def uri(self) -> str:
        """Of the study."""
        return self._study.uri

    @property
    def config(self) -> StudyConfig:
        """Of the study."""
        return self._study.config

    @property
    def trials(self) -> list[Trial]:
        """Of the study."""
        return self._study.trials

    @property
    def num_remaining(self) -> int:
        """Trials still to start."""
        return len(self._drawn) + self._study.num_remaining

    def ask(self) -> Trial | None:
        """The next trial to run; None while the round is not over, and when no trial is left."""
        if not self._drawn and not self._running:
            self._draw()
        return self._drawn.popleft() if self._drawn else None

    def report(self, number: int, epochs: Iterable[EpochResult], *, metrics: Mapping[str, float] | None = None) -> None:
        """Note epochs of a running trial; the study learns of them when it is their turn."""
        running = self._running[number]
        running.measured = {**(metrics or {}), **running.measured}
        for epoch in epochs:
            running.epochs.setdefault(epoch.epoch, epoch)
            self.pruner.report(number, epoch.epoch, epoch.val_error_pct)
        self._settle()

    def requeue(self, number: int) -> None:
        """See `Study.give_back`."""
        self._drawn.append(self.trials[number])

    def finish(self, number: int, state: EndState, *, reason: str | None = None, traceback: str | None = None) -> None:
        """Note the end of a running trial; it is entered in the ledger when its last epoch had its turn.

        Raises:
            StudyError: Another driver has entered one.
        """
        self._running[number].end = (state, reason, traceback)
        if state != "pruned":  # else it was stopped by the turns
            self.pruner.end_trial(number)
        self._settle()

    def _draw(self) -> None:
        """A round, or what is missing of one that was interrupted, or was the last of a shorter study."""
        ended = [trial for trial in self._earlier if trial.result]
        missing = self.batch_size - sum(map(_counts, ended))
        drawn: list[Trial] = []
        while len(drawn) < missing and (trial := self._study.ask()):
            drawn.append(trial)
        self._begin(sorted([*ended, *drawn], key=lambda trial: trial.number))
        self._earlier = []
        self._drawn.extend(drawn)
        self._running = {trial.number: _Running({}, {}) for trial in drawn}

    def _begin(self, trials: Sequence[Trial]) -> None:
        self.pruner.start_batch([trial.number for trial in trials])
        for trial in trials:
            if trial.result:
                for epoch in trial.result.epochs:
                    self.pruner.report(trial.number, epoch.epoch, epoch.val_error_pct)
                self.pruner.end_trial(trial.number)

    def _settle(self) -> None:
        """Tell the study of what had its turn."""
        for number, running in list(self._running.items()):
            judged = self.pruner.num_decided_epochs(number)
            ready = [running.epochs.pop(epoch) for epoch in sorted(running.epochs) if epoch <= judged]
            self._study.report(number, ready, metrics=running.measured)
            if running.end and self.pruner.is_decided(number):
                state, reason, traceback = running.end
                del self._running[number]
                if self.pruner.is_pruned(number):
                    state, reason, traceback = "pruned", None, None
                self._study.finish(number, state, reason=reason, traceback=traceback)


def _counts(trial: Trial) -> bool:
    """Whether it takes a place in a round: not if it ended before it was trained, being beyond a limit."""
    return not (trial.state == "pruned" and not trial.epochs)


def _rounds(trials: Iterable[Trial], size: int) -> Iterator[list[Trial]]:
    """The trials of a study by rounds."""
    one: list[Trial] = []
    for trial in trials:
        if sum(map(_counts, one)) == size:
            yield one
            one = []
        one.append(trial)
    if one:
        yield one
