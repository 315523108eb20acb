"""A study: Optuna's ask and tell over the ledger, from which Optuna's study is rebuilt when it is first asked."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import cached_property
from typing import Literal

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import TrialState, create_trial

from rcn_search import storage
from rcn_search.search.claim import read as read_claim
from rcn_search.search.identity import SETTINGS, as_of_today, differences, identity, rebuild, settings
from rcn_search.search.ledger import Epoch, Ledger, Outcome, StudyError, Suggestion
from rcn_search.search.samplers import build_sampler
from rcn_search.search.space import SearchSpace, Values

EndState = Literal["complete", "pruned", "failed"]
_OPTUNA_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class Trial:
    """A trial and what is known of it by now.

    Attributes:
        suggestion: As it was drawn.
        folder: URI of its files.
        epochs: Those behind it, by number.
        outcome: How it ended, once it has.
        running: Optuna's handle, while it runs.
    """

    def __init__(self, suggestion: Suggestion, folder: str, outcome: Outcome | None = None) -> None:
        self.suggestion, self.folder, self.outcome = suggestion, folder, outcome
        self.epochs: dict[int, Epoch] = {epoch.epoch: epoch for epoch in outcome.epochs} if outcome else {}
        self.running: optuna.Trial | None = None

    @property
    def number(self) -> int:
        """From 0."""
        return self.suggestion.number

    @property
    def state(self) -> Literal[EndState, "running", "open"]:
        """``open``: suggested, to be run or run again."""
        return self.outcome.state if self.outcome else "running" if self.running else "open"

    @property
    def error_pct(self) -> float | None:
        """Lowest validation error: that of the weights in best.safetensors."""
        return min((epoch.val_error_pct for epoch in self.epochs.values()), default=None)


class Study:
    """A study at a URI. Make one with `create` or `resume`; look at one with `open`.

    Attributes:
        uri: Its folder.
        space: What it searches.
        trials: All trials so far, by number.
    """

    def __init__(self, uri: str, space: SearchSpace, ledger: Ledger | None = None) -> None:
        self.uri, self.space = uri, space
        self._ledger = ledger or Ledger(uri)
        self.trials = [
            Trial(suggestion, self._ledger.folder(suggestion.number), outcome)
            for suggestion, outcome in self._ledger.trials()
        ]

    @classmethod
    def create(cls, uri: str, space: SearchSpace, *, data_fingerprint: str) -> Study:
        """`start`, and be its driver."""
        cls.start(uri, space, data_fingerprint)
        return cls(uri, space)

    @classmethod
    def resume(cls, uri: str, space: SearchSpace, *, data_fingerprint: str) -> Study:
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
        document, claim = Ledger(uri).space(), read_claim(uri)
        current = claim.taken.settings if claim else document.get(SETTINGS)
        return cls(uri, rebuild(document, current, () if current else [each for each, _ in Ledger(uri).trials()]))

    @staticmethod
    def start(uri: str, space: SearchSpace, data_fingerprint: str) -> None:
        """Publish what is searched. A study of the same space without a trial, whose start failed, is taken over.

        Raises:
            StudyError: There is a study at ``uri`` already.
        """
        ledger = Ledger(uri)
        try:
            ledger.start({**identity(space, data_fingerprint), SETTINGS: settings(space)})
        except storage.ObjectExistsError:
            if next(ledger.trials(), None) is not None:
                raise StudyError(
                    f"{uri} holds a study already; add --resume to go on with it, or name another place"
                ) from None
            Study.check(uri, space, data_fingerprint)

    @staticmethod
    def check(uri: str, space: SearchSpace, data_fingerprint: str) -> None:
        """Make sure that it is this that is searched.

        Raises:
            StudyError: There is no study at ``uri``, or one of another space; the message shows what differs.
        """
        there = as_of_today(Ledger(uri).space())
        if changed := list(differences(there, identity(space, data_fingerprint))):
            raise StudyError(
                f"the study at {uri} was started with another space:\n  " + "\n  ".join(changed) + "\n"
                "Put that back, or add --branch NAME for a child study that takes over the trials that still fit"
            )

    @cached_property
    def _optuna(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would announce a study of no name
        study = optuna.create_study()
        for trial in self.trials:
            if trial.outcome:
                study.add_trial(_as_optuna_has_it(trial, trial.outcome))
            else:
                study.enqueue_trial(trial.suggestion.params)
        for setting in self._planned():
            study.enqueue_trial(setting)
        return study

    @property
    def num_left(self) -> int:
        """Trials still to start: open ones, and those of the budget, or rows, that are not drawn yet."""
        budget = self.space.budget.trials
        undrawn = len(self._planned()) if budget is None else max(0, budget - len(self.trials))
        return sum(trial.state == "open" for trial in self.trials) + undrawn

    @property
    def best(self) -> Trial | None:
        """Of the complete trials the one with the lowest validation error; rows are not there to be chosen from."""
        if self.space.rows:
            return None
        complete = (trial for trial in self.trials if trial.state == "complete")
        return min(complete, key=lambda trial: (trial.error_pct, trial.number), default=None)

    @property
    def pareto(self) -> list[Trial]:
        """Complete trials that no other is better than, by number; with one objective the best alone."""
        return [self.best] if self.best else []

    def _planned(self) -> list[Values]:
        """What is drawn before the sampler has a say, and is not drawn yet."""
        if self.space.rows:
            drawn = [trial.suggestion.params for trial in self.trials]
            return [setting for setting in self.space.plan if setting not in drawn]
        return [self.space.fixed(point) for point in self.space.points[len(self.trials) :]]

    def ask(self) -> Trial | None:
        """The next trial to run: open ones, then points or rows, then what the sampler draws; None if there is none.

        A new suggestion is in the ledger before it is returned.
        """
        if not self.num_left:
            return None
        # A fresh sampler for each draw: what it draws depends on the history only, not on when the driver was started.
        self._optuna.sampler = build_sampler(self.space, len(self.trials))
        asked = self._optuna.ask()
        values = self.space.sample(asked)
        if asked.number == len(self.trials):
            config = self.space.config(values)
            suggestion = Suggestion(
                number=asked.number,
                params=asked.params,
                distributions={name: distribution_to_json(each) for name, each in asked.distributions.items()},
                config=config,
                run_id=config.run_id,
                at=time.time(),
            )
            self._ledger.suggest(suggestion)
            self.trials.append(Trial(suggestion, self._ledger.folder(asked.number)))
        trial = self.trials[asked.number]
        trial.running = asked
        return trial

    def report(self, number: int, epochs: Iterable[Epoch]) -> None:
        """Note epochs of a running trial; those known already, from before its process died, are passed over."""
        trial = self.trials[number]
        assert trial.running is not None, f"trial {number} is not running"
        for epoch in epochs:
            if epoch.epoch not in trial.epochs:
                trial.epochs[epoch.epoch] = epoch
                trial.running.report(epoch.val_error_pct, step=epoch.epoch)

    def finish(self, number: int, state: EndState, *, reason: str | None = None, traceback: str | None = None) -> None:
        """Enter the end of a running trial in the ledger, then tell the sampler.

        Raises:
            StudyError: Another driver has entered one.
        """
        trial = self.trials[number]
        assert trial.running is not None, f"trial {number} is not running"
        epochs = tuple(trial.epochs[epoch] for epoch in sorted(trial.epochs))
        outcome = Outcome(state=state, epochs=epochs, reason=reason, traceback=traceback, at=time.time())
        self._ledger.finish(number, outcome)
        value = trial.error_pct if state == "complete" else None
        self._optuna.tell(trial.running, value, state=_OPTUNA_STATES[state])
        trial.outcome, trial.running = outcome, None


def _as_optuna_has_it(trial: Trial, outcome: Outcome) -> optuna.trial.FrozenTrial:
    """A finished trial, as it would be in Optuna had it been run here."""
    last = outcome.epochs[-1].val_error_pct if outcome.epochs else None
    return create_trial(
        state=_OPTUNA_STATES[outcome.state],
        value={"complete": trial.error_pct, "pruned": last, "failed": None}[outcome.state],
        params=dict(trial.suggestion.params),
        distributions={name: json_to_distribution(text) for name, text in trial.suggestion.distributions.items()},
        intermediate_values={epoch.epoch: epoch.val_error_pct for epoch in outcome.epochs},
    )
