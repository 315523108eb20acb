"""A study: Optuna's ask-and-tell interface over the study store, from which Optuna's study is rebuilt when needed."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TypeVar

import optuna
from optuna.distributions import distribution_to_json

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.machine import gc_paused
from rcn_search.study.identity import SETTINGS, check_identity, identity, restore_config, resume_settings
from rcn_search.study.lease import LeaseState, read_lease
from rcn_search.study.objectives import constraint_values, objective_values
from rcn_search.study.optuna_study import build_optuna_study
from rcn_search.study.records import RESTORE, EpochResult, PriorRecord, StopRecord, StudyError, TrialRecord, TrialResult
from rcn_search.study.samplers import build_sampler
from rcn_search.study.space.parameter import Values
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.stopping import StopCheck
from rcn_search.study.store import PRIOR, RESULT_NAME, StudyStore
from rcn_search.study.trial import OPTUNA_STATES, EndState, Trial, dominates, error_key

_Read = TypeVar("_Read")


class Study:
    """A study in a folder or at a URI, with all its trials in memory.

    The constructor opens a study to run it: finished trials are kept, and open ones are run again; a damaged object is
    a `StudyError` that names it, since nothing may be proposed or decided without it. `start` publishes a
    new study; `rcn_search.study.snapshot.open_study` opens one to read it. Writing under a lease needs a ``store``.
    The sampler learns from ``warm_start_trials``, taken over from an earlier study; they are not part of the budget.
    """

    def __init__(
        self, uri: str, config: StudyConfig, store: StudyStore | None = None, *, skip_damaged: bool = False
    ) -> None:
        self.uri, self.config = uri, config
        self.damaged: dict[int, StudyError] = {}
        self.problems: list[str] = []
        self.lease: LeaseState | None = None
        self._store = store or StudyStore(uri)
        self.warm_start_trials = [
            Trial(trial.record, StudyStore(trial.origin).trial_folder(trial.record.number), trial.result)
            for trial in self._read(lambda: self._store.read_warm_start(self._store.read_study()), skip_damaged) or ()
        ]
        with gc_paused():
            trials = [
                Trial(record, self._store.trial_folder(record.number), result)
                for record, result in self._store.read_trials(self.damaged.__setitem__ if skip_damaged else None)
            ]
        self.trials = [trial for trial in trials if self._is_sound(trial, skip_damaged)]
        for trial in self.warm_start_trials:
            self._is_sound(trial, skip_damaged=False)
        self.problems += [str(error) for _, error in sorted(self.damaged.items())]
        self.prior = self._read(self._store.read_prior, skip_damaged)
        self.stop = self._read(lambda: self._store.read_stop(config.stop, self.num_trials), skip_damaged)
        self._open = {trial.number for trial in self.trials if not trial.result}
        self._requeued: list[int] = []

    def _read(self, read: Callable[[], _Read], skip_damaged: bool) -> _Read | None:
        try:
            return read()
        except StudyError as error:
            if not skip_damaged:
                raise
            self.problems.append(str(error))
            return None

    def _is_sound(self, trial: Trial, skip_damaged: bool) -> bool:
        """Evaluate an ended trial; false if what it should have measured is missing."""
        try:
            if trial.result:
                self._evaluate(trial, trial.result)
        except RcnSearchError as error:
            uri = storage.join(trial.folder, RESULT_NAME)
            damage = StudyError(f"{uri} is damaged: {error}; {RESTORE}")
            if not skip_damaged:
                raise damage from None
            self.damaged[trial.number] = damage
            return False
        return True

    @classmethod
    def start(cls, uri: str, config: StudyConfig, data_fingerprint: str, prior: PriorRecord | None = None) -> Study:
        """Publish a new study. If there is one without trials of the same configuration, its start failed: reuse it.

        Raises:
            StudyError: There is a study at ``uri`` already.
        """
        store = StudyStore(uri)
        try:
            known = {PRIOR: prior.model_dump(mode="json")} if prior else {}
            store.create({**identity(config, data_fingerprint), SETTINGS: resume_settings(config), **known})
        except storage.ObjectExistsError:
            if next(store.read_trials(), None) is not None:
                raise StudyError(
                    f"there is a study at {uri} already; resume it with --resume, or name another location"
                ) from None
            cls.check(uri, config, data_fingerprint)
        return cls(uri, config)

    @classmethod
    def open(cls, uri: str) -> Study:
        """Open a study as it is now, to read it. Nothing is written, and the study may be running.

        Damaged objects are left out: ``damaged`` holds the numbers of such trials, ``problems`` says what is wrong.

        Raises:
            StudyError: There is no study, study.json is damaged, or another version of rcn-search wrote it.
        """
        uri = storage.absolute(uri)
        document, lease, problems = StudyStore(uri).read_study(), None, []
        try:
            lease = read_lease(uri)
        except StudyError as error:
            problems.append(str(error))
        config = restore_config(uri, document, lease.record.settings if lease else document.get(SETTINGS, {}))
        study = cls(uri, config, skip_damaged=True)
        study.lease, study.problems = lease, [*problems, *study.problems]
        return study

    @staticmethod
    def check(uri: str, config: StudyConfig, data_fingerprint: str) -> None:
        """Check that a study is one of this configuration and data set, apart from its settings.

        Raises:
            StudyError: There is no study at ``uri``, or it is another study; the message shows what differs.
        """
        check_identity(uri, StudyStore(uri).read_study(), config, data_fingerprint)

    @property
    def num_trials(self) -> int:
        """Number of trials so far, damaged ones included."""
        return len(self.trials) + len(self.damaged)

    def trial(self, number: int) -> Trial:
        """Return a trial by its number.

        Raises:
            StudyError: There is no such trial, or it is damaged.
        """
        if number in self.damaged:
            raise self.damaged[number]
        index = bisect_left(self.trials, number, key=lambda trial: trial.number)
        if index < len(self.trials) and self.trials[index].number == number:
            return self.trials[index]
        raise StudyError(f"{self.uri} has no trial {number}; its {self.num_trials} trials are numbered from 0")

    @cached_property
    def _optuna(self) -> optuna.Study:
        trials = [(trial, self._excess(trial)) for trial in (*self.warm_start_trials, *self.trials)]
        return build_optuna_study(self.config, trials, self._queued())

    @cached_property
    def _stop_check(self) -> StopCheck:
        return StopCheck(self.config.stop, self.trials)

    @property
    def num_remaining(self) -> int:
        """Number of trials still to run: open ones, and those of the budget that are not proposed yet.

        A study that has stopped proposes no more.
        """
        budget = self.config.budget.trials
        num_new = len(self._queued()) if budget is None else max(0, budget - len(self.trials))
        num_new = 0 if self.stop else max(0, num_new - len(self.damaged))
        return len(self._open) + len(self._requeued) + num_new

    @property
    def has_unfinished(self) -> bool:
        """Whether a trial is still to be proposed, or has not ended."""
        return bool(self.num_remaining) or any(trial.result is None for trial in self.trials)

    @property
    def best_trial(self) -> Trial | None:
        """Feasible complete trial with the lowest validation error; None of a fixed-run study."""
        return None if self.config.runs else min(self._feasible_trials(), key=error_key, default=None)

    @property
    def pareto_front(self) -> list[Trial]:
        """Feasible complete trials that no other one dominates, by number; with one objective the best trial."""
        if len(self.config.objectives) == 1:
            return [self.best_trial] if self.best_trial else []
        trials = list(self._feasible_trials())
        return [trial for trial in trials if not any(dominates(other, trial) for other in trials)]

    def _feasible_trials(self) -> Iterator[Trial]:
        return (trial for trial in self.trials if trial.state == "complete" and trial.is_feasible)

    def _excess(self, trial: Trial) -> dict[str, float]:
        """By how much a trial exceeds each constraint; 0 and less is feasible."""
        return constraint_values(self.config, trial.config, trial.metrics)

    def _evaluate(self, trial: Trial, result: TrialResult) -> None:
        """Compute whether an ended trial is feasible, and its objective values."""
        trial.is_feasible = all(excess <= 0 for excess in self._excess(trial).values())
        if result.state == "complete":
            trial.values = objective_values(self.config, trial.config, result.epochs, trial.metrics)

    def _queued(self) -> list[Values]:
        """Parameters of initial trials or fixed runs that are not proposed yet."""
        if self.config.runs:
            proposed = [trial.params for trial in self.trials]
            return [params for params in self.config.fixed_trials if params not in proposed]
        initial = (*self.config.initial_trials, *(self.prior.settings if self.prior else ()))
        return [self.config.initial_params(values) for values in initial[len(self.trials) :]]

    def ask(self) -> Trial | None:
        """Return the next trial to run, which is in the store already; None if there is none.

        Open trials come first, then initial trials or fixed runs, then what the sampler proposes. A proposal that
        exceeds a constraint before any training ends at once, as pruned: the sampler learns from it, and the budget
        counts it.
        """
        if self._requeued:
            return self.trials[self._requeued.pop(0)]
        while self.num_remaining and not self._stops():
            trial = self._propose()
            exceeded = {name: excess for name, excess in self._excess(trial).items() if excess > 0}
            if not exceeded:
                return trial
            reason = ", ".join(f"{name} {excess:,.6g} over the limit" for name, excess in exceeded.items())
            self.finish(trial.number, "pruned", reason=reason)
        return None

    def _stops(self) -> bool:
        """Whether the stop rule holds, now that nothing but the sampler's proposals is left; if so, publish it."""
        if not self._open and not self._queued() and (reason := self._stop_check.reason()):
            assert self.config.stop is not None
            stop = StopRecord(rule=self.config.stop, num_trials=self.num_trials, reason=reason, at=time.time())
            self._store.write_stop(stop)
            self.stop = stop
        return self.stop is not None and not self._open

    def _propose(self) -> Trial:
        # A new sampler for each proposal, which depends on the history only, and not on when the process was started.
        self._optuna.sampler = build_sampler(self.config, len(self.trials), self.prior)
        optuna_trial = self._optuna.ask()
        values = self.config.sample(optuna_trial)
        number = optuna_trial.number - len(self.warm_start_trials)
        if number == len(self.trials):
            train_config = self.config.train_config(values)
            record = TrialRecord(
                number=number,
                params=optuna_trial.params,
                distributions={name: distribution_to_json(kind) for name, kind in optuna_trial.distributions.items()},
                config=train_config,
                run_id=train_config.run_id,
                created_at=time.time(),
            )
            self._store.write_trial(record)
            self.trials.append(Trial(record, self._store.trial_folder(number)))
        trial = self.trials[number]
        trial.optuna_trial = optuna_trial
        self._open.discard(trial.number)
        return trial

    def requeue(self, number: int) -> None:
        """Return a trial that was not run to its end; `ask` gives it out again."""
        assert self.trials[number].optuna_trial is not None, f"trial {number} is not running"
        self._requeued.append(number)

    def report(self, number: int, epochs: Iterable[EpochResult], *, metrics: Mapping[str, float] | None = None) -> None:
        """Record epochs and metrics of a running trial; those known from before its process died are kept."""
        trial = self.trials[number]
        assert trial.optuna_trial is not None, f"trial {number} is not running"
        trial.metrics = {**(metrics or {}), **trial.metrics}
        for epoch in epochs:
            if epoch.epoch not in trial.epochs:
                trial.epochs[epoch.epoch] = epoch
                if len(self.config.objectives) == 1:  # with several, Optuna takes no intermediate values
                    trial.optuna_trial.report(epoch.val_error_pct, step=epoch.epoch)

    def finish(self, number: int, state: EndState, *, reason: str | None = None, traceback: str | None = None) -> None:
        """Publish how a running trial ended, and why if it did not complete; then report it to the sampler."""
        trial = self.trials[number]
        optuna_trial = trial.optuna_trial
        assert optuna_trial is not None, f"trial {number} is not running"
        result = TrialResult(
            state=state,
            epochs=tuple(trial.epochs[epoch] for epoch in sorted(trial.epochs)),
            reason=reason,
            traceback=traceback,
            metrics=trial.metrics,
            ended_at=time.time(),
        )
        self._store.write_result(number, result)
        trial.result, trial.optuna_trial = result, None
        self._evaluate(trial, result)
        self._stop_check.add(trial)
        for name, excess in self._excess(trial).items():
            optuna_trial.set_constraint(name, excess)
        self._optuna.tell(optuna_trial, trial.values, state=OPTUNA_STATES[state])
