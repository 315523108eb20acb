"""A study: Optuna's ask and tell over the ledger, from which Optuna's study is rebuilt when it is first asked."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Literal

import optuna
from optuna.distributions import distribution_to_json

from rcn_search import storage
from rcn_search.storage.gc_pause import without_collector
from rcn_search.study.identity import SETTINGS, current_identity, differences, identity, restore_config, resume_settings
from rcn_search.study.lease import read_lease as read_claim
from rcn_search.study.objectives import constraint_values, directions, objective_values
from rcn_search.study.records import EpochResult, StudyError, TrialRecord, TrialResult
from rcn_search.study.samplers import build_sampler
from rcn_search.study.samplers.bounded_history import BoundedHistory
from rcn_search.study.space.parameter import Values
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.store import StudyStore
from rcn_search.study.trial import OPTUNA_STATES, EndState, Trial, dominates, error_key, to_frozen_trial

_BOUNDED = {"tpe", "gp"}
"""Samplers that look at every trial there is at each draw."""


class Study:
    """A study at a URI. Make one with `create` or `resume`; look at one with `open`.

    Attributes:
        uri: Its folder.
        space: What it searches.
        trials: All trials so far, by number.
        inherited: Those taken over from the study that this one was branched from: the sampler knows them, and they
            are no part of the budget.
    """

    def __init__(self, uri: str, space: StudyConfig, ledger: StudyStore | None = None) -> None:
        self.uri, self.config = uri, space
        self._ledger = ledger or StudyStore(uri)
        self.warm_start_trials = [
            Trial(each.record, StudyStore(each.origin).trial_folder(each.record.number), each.result)
            for each in self._ledger.read_warm_start(self._ledger.read_study())
        ]
        with without_collector():
            self.trials = [
                Trial(suggestion, self._ledger.trial_folder(suggestion.number), outcome)
                for suggestion, outcome in self._ledger.read_trials()
            ]
        self._open = {trial.number for trial in self.trials if not trial.result}
        self._given_back: list[int] = []
        for trial in (*self.warm_start_trials, *self.trials):
            if trial.result:
                self._judge(trial)

    @classmethod
    def create(cls, uri: str, space: StudyConfig, *, data_fingerprint: str) -> Study:
        """`start`, and be its driver."""
        cls.start(uri, space, data_fingerprint)
        return cls(uri, space)

    @classmethod
    def resume(cls, uri: str, space: StudyConfig, *, data_fingerprint: str) -> Study:
        """`check`, and go on with it: finished trials are kept, open ones will be run again."""
        cls.check(uri, space, data_fingerprint)
        return cls(uri, space)

    @classmethod
    def open(cls, uri: str) -> Study:
        """Look at a study from anywhere, also while a driver is at work on it: nothing is written or claimed.

        What is seen is the study at this moment; open it again to see what came since.

        Raises:
            StudyError: There is none at ``uri``, or its ledger is damaged or of a newer version.
        """
        uri = storage.absolute(uri)
        document, claim = StudyStore(uri).read_study(), read_claim(uri)
        current = claim.record.settings if claim else document.get(SETTINGS)
        return cls(
            uri,
            restore_config(document, current, () if current else [each for each, _ in StudyStore(uri).read_trials()]),
        )

    @staticmethod
    def start(uri: str, space: StudyConfig, data_fingerprint: str) -> None:
        """Publish what is searched. A study of the same space without a trial, whose start failed, is taken over.

        Raises:
            StudyError: There is a study at ``uri`` already.
        """
        ledger = StudyStore(uri)
        try:
            ledger.create({**identity(space, data_fingerprint), SETTINGS: resume_settings(space)})
        except storage.ObjectExistsError:
            if next(ledger.read_trials(), None) is not None:
                raise StudyError(
                    f"{uri} holds a study already; add --resume to resume it, or name another location with --study"
                ) from None
            Study.check(uri, space, data_fingerprint)

    @staticmethod
    def check(uri: str, space: StudyConfig, data_fingerprint: str) -> None:
        """Make sure that it is this that is searched.

        Raises:
            StudyError: There is no study at ``uri``, or one of another space; the message shows what differs.
        """
        there = current_identity(StudyStore(uri).read_study())
        if changed := list(differences(there, identity(space, data_fingerprint))):
            raise StudyError(
                f"the study at {uri} was started with another space:\n  " + "\n  ".join(changed) + "\n"
                f"Undo the change, or start a new study with the trials that still fit: --warm-start-from {uri} --study NEW"
            )

    @cached_property
    def _optuna(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would announce a study of no name
        several = len(self.directions) > 1
        history = BoundedHistory() if self.config.sampler.name in _BOUNDED else None
        study = optuna.create_study(storage=history, directions=self.directions)
        for trial in (*self.warm_start_trials, *self.trials):
            if trial.result:
                study.add_trial(to_frozen_trial(trial, trial.result, self._excess(trial), several=several))
            else:
                study.enqueue_trial(trial.record.params)
        for setting in self._planned():
            study.enqueue_trial(setting)
        return study

    @property
    def num_remaining(self) -> int:
        """Trials still to start: open ones, and those of the budget, or rows, that are not drawn yet."""
        budget = self.config.budget.trials
        undrawn = len(self._planned()) if budget is None else max(0, budget - len(self.trials))
        return len(self._open) + len(self._given_back) + undrawn

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """Of each objective."""
        return ["maximize" if each == "maximize" else "minimize" for each in directions(self.config)]

    @property
    def best_trial(self) -> Trial | None:
        """Of the complete trials within the limits that with the lowest validation error; of rows none is chosen."""
        return None if self.config.runs else min(self._results(), key=error_key, default=None)

    @property
    def pareto_front(self) -> list[Trial]:
        """Results that no other is better than in all objectives, by number; with one objective the best alone."""
        if len(self.config.objectives) == 1:
            return [self.best_trial] if self.best_trial else []
        results = list(self._results())
        return [trial for trial in results if not any(dominates(other, trial) for other in results)]

    def _results(self) -> Iterator[Trial]:
        return (trial for trial in self.trials if trial.state == "complete" and trial.is_feasible)

    def _excess(self, trial: Trial) -> dict[str, float]:
        """How far a trial is beyond each limit of the study; 0 and less is within."""
        return constraint_values(self.config, trial.record.config, trial.metrics)

    def _judge(self, trial: Trial) -> None:
        """Settle what an ended trial reached."""
        outcome = trial.result
        assert outcome is not None
        trial.is_feasible = all(excess <= 0 for excess in self._excess(trial).values())
        if outcome.state == "complete":
            trial.values = objective_values(self.config, trial.record.config, outcome.epochs, trial.metrics)

    def _planned(self) -> list[Values]:
        """What is drawn before the sampler has a say, and is not drawn yet."""
        if self.config.runs:
            drawn = [trial.record.params for trial in self.trials]
            return [setting for setting in self.config.fixed_trials if setting not in drawn]
        return [self.config.initial_params(point) for point in self.config.initial_trials[len(self.trials) :]]

    def ask(self) -> Trial | None:
        """The next trial to run: open ones, then points or rows, then what the sampler draws; None if there is none.

        A new suggestion is in the ledger before it is returned. One that is beyond a limit known before training ends
        at once, as pruned; the sampler learns of it, and the budget counts it.
        """
        if self._given_back:
            return self.trials[self._given_back.pop(0)]
        while self.num_remaining:
            trial = self._draw()
            assert trial.optuna_trial is not None
            beyond = {name: excess for name, excess in self._excess(trial).items() if excess > 0}
            if not beyond:
                return trial
            reason = ", ".join(f"{name} {excess:,.6g} over the limit" for name, excess in beyond.items())
            self.finish(trial.number, "pruned", reason=reason)
        return None

    def _draw(self) -> Trial:
        # A fresh sampler for each draw: what it draws depends on the history only, not on when the driver was started.
        self._optuna.sampler = build_sampler(self.config, len(self.trials))
        asked = self._optuna.ask()
        values = self.config.sample(asked)
        number = asked.number - len(self.warm_start_trials)
        if number == len(self.trials):
            config = self.config.train_config(values)
            suggestion = TrialRecord(
                number=number,
                params=asked.params,
                distributions={name: distribution_to_json(each) for name, each in asked.distributions.items()},
                config=config,
                run_id=config.run_id,
                created_at=time.time(),
            )
            self._ledger.write_trial(suggestion)
            self.trials.append(Trial(suggestion, self._ledger.trial_folder(number)))
        trial = self.trials[number]
        trial.optuna_trial = asked
        self._open.discard(trial.number)
        return trial

    def requeue(self, number: int) -> None:
        """A trial that was asked for was not run to an end; `ask` returns it again."""
        assert self.trials[number].optuna_trial is not None, f"trial {number} is not running"
        self._given_back.append(number)

    def report(self, number: int, epochs: Iterable[EpochResult], *, metrics: Mapping[str, float] | None = None) -> None:
        """Note epochs of a running trial; those known already, from before its process died, are passed over.

        Args:
            number: Of the trial.
            epochs: Some of its epochs.
            measured: Of its network; what was first reported stays.
        """
        trial = self.trials[number]
        assert trial.optuna_trial is not None, f"trial {number} is not running"
        trial.metrics = {**(metrics or {}), **trial.metrics}
        for epoch in epochs:
            if epoch.epoch not in trial.epochs:
                trial.epochs[epoch.epoch] = epoch
                if len(self.config.objectives) == 1:  # with several, Optuna takes no values before the end
                    trial.optuna_trial.report(epoch.val_error_pct, step=epoch.epoch)

    def finish(self, number: int, state: EndState, *, reason: str | None = None, traceback: str | None = None) -> None:
        """Enter the end of a running trial in the ledger, then tell the sampler.

        Raises:
            StudyError: Another driver has entered one.
        """
        trial = self.trials[number]
        running = trial.optuna_trial
        assert running is not None, f"trial {number} is not running"
        outcome = TrialResult(
            state=state,
            epochs=tuple(trial.epochs[epoch] for epoch in sorted(trial.epochs)),
            reason=reason,
            traceback=traceback,
            metrics=trial.metrics,
            ended_at=time.time(),
        )
        self._ledger.write_result(number, outcome)
        trial.result, trial.optuna_trial = outcome, None
        self._judge(trial)
        for name, excess in self._excess(trial).items():
            running.set_constraint(name, excess)
        self._optuna.tell(running, trial.values, state=OPTUNA_STATES[state])
