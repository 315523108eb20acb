"""The durable study: a ledger of small immutable JSON objects, from which Optuna's study is rebuilt at every start.

    STUDY/space.json                     what is searched; put-if-absent, so one study per place
    STUDY/trials/000012/suggested.json   parameters and the whole training configuration; before the trial starts
    STUDY/trials/000012/finished.json    how it ended and all its epochs; exactly once
    STUDY/trials/000012/…                the files of its training run
    STUDY/final.json                     the score of the best trial on the test split; exactly once

A trial that is suggested and not finished is run again, from its last checkpoint. Nothing is pickled, nothing is ever
overwritten, and the only writer is the driver.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeVar

import numpy as np
import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import TrialState, create_trial

from rcn_search import storage
from rcn_search.config import Options, TrainConfig
from rcn_search.search.space import Random, SearchSpace, Values

SCHEMA_VERSION = 1
SPACE = "space.json"
TRIALS = "trials"
SUGGESTED = "suggested.json"
FINISHED = "finished.json"
FINAL = "final.json"
Document = TypeVar("Document", bound=Options)


class StudyError(ValueError):
    """A study cannot be started or gone on with; the message says why and what to do."""


class Suggestion(Options):
    """One trial as it was drawn.

    Attributes:
        number: From 0, in the order of drawing.
        params: Drawn values, by the parameters' own names.
        distributions: What they were drawn from, as Optuna writes it.
        config: What to train.
        run_id: Of ``config``.
    """

    schema_version: int = SCHEMA_VERSION
    number: int
    params: Values
    distributions: dict[str, str]
    config: TrainConfig
    run_id: str


class Epoch(Options):
    """One epoch of a trial.

    Attributes:
        epoch: From 1.
        loss: Mean training loss.
        val_error_pct: Validation error after it.
        best_error_pct: The lowest so far, of the weights that are kept.
        train_s: Time of its training steps.
        val_s: Time of its validation.
        other_s: Time of all else that the trial did: opening the run, saving the checkpoint.
    """

    epoch: int
    loss: float
    val_error_pct: float
    best_error_pct: float
    train_s: float
    val_s: float
    other_s: float = 0.0


class Outcome(Options):
    """How a trial ended.

    Attributes:
        state: ``pruned``: stopped early by the scheduler, after the last of ``epochs``.
        epochs: All of them, in order.
        reason: Why it failed.
        traceback: Where, if that helps.
    """

    schema_version: int = SCHEMA_VERSION
    state: Literal["complete", "pruned", "failed"]
    epochs: tuple[Epoch, ...]
    reason: str | None = None
    traceback: str | None = None


class Trial:
    """A trial and what is known of it by now."""

    def __init__(self, suggestion: Suggestion, folder: str) -> None:
        self.suggestion, self.folder = suggestion, folder
        self.epochs: dict[int, Epoch] = {}
        self.outcome: Outcome | None = None
        self.running: optuna.Trial | None = None

    @property
    def number(self) -> int:
        """From 0."""
        return self.suggestion.number

    @property
    def state(self) -> Literal["open", "running", "complete", "pruned", "failed"]:
        """``open``: suggested, to be run or run again."""
        return self.outcome.state if self.outcome else "running" if self.running else "open"

    @property
    def error_pct(self) -> float | None:
        """Lowest validation error: that of the weights in best.safetensors."""
        return min((epoch.val_error_pct for epoch in self.epochs.values()), default=None)


class Study:
    """A study at a URI. Make one with `create` or `resume`.

    Attributes:
        uri: Its folder.
        space: What it searches.
        trials: All trials so far, by number.
    """

    def __init__(self, uri: str, space: SearchSpace) -> None:
        self.uri, self.space = uri, space
        self.trials: list[Trial] = []
        self._optuna = optuna.create_study()
        for suggestion, outcome in self._ledger():
            trial = Trial(suggestion, self._folder(suggestion.number))
            self.trials.append(trial)
            if outcome:
                trial.outcome = outcome
                trial.epochs = {epoch.epoch: epoch for epoch in outcome.epochs}
                self._optuna.add_trial(_frozen(trial))
            else:
                self._optuna.enqueue_trial(suggestion.params)
        for point in space.points[len(self.trials) :]:
            self._optuna.enqueue_trial(space.fixed(point))

    @classmethod
    def create(cls, uri: str, space: SearchSpace, *, data_fingerprint: str) -> Study:
        """Start a study.

        Raises:
            StudyError: There is one at ``uri`` already.
        """
        try:
            storage.write_json(storage.join(uri, SPACE), _document(space, data_fingerprint), if_absent=True)
        except storage.ObjectExistsError:
            raise StudyError(
                f"{uri} holds a study already; add --resume to go on with it, or name another place"
            ) from None
        return cls(uri, space)

    @classmethod
    def resume(cls, uri: str, space: SearchSpace, *, data_fingerprint: str) -> Study:
        """Go on with a study: finished trials are kept, open ones will be run again.

        Raises:
            StudyError: There is none at ``uri``, it has another space, or its ledger is damaged.
        """
        try:
            there = storage.read_json(storage.join(uri, SPACE))
        except FileNotFoundError:
            raise StudyError(f"there is no study at {uri} to resume; leave out --resume to start one") from None
        if changed := sorted(_differences(there, _document(space, data_fingerprint))):
            raise StudyError(
                f"the study at {uri} was started with another space. Different: {', '.join(changed)}. "
                "Put them back, or start a study at another place"
            )
        return cls(uri, space)

    @property
    def num_left(self) -> int:
        """Trials still to run: those of the budget, and open ones."""
        return sum(trial.state == "open" for trial in self.trials) + max(0, self.space.budget.trials - len(self.trials))

    @property
    def best(self) -> Trial | None:
        """Of the complete trials the one with the lowest validation error."""
        complete = (trial for trial in self.trials if trial.state == "complete")
        return min(complete, key=lambda trial: (trial.error_pct, trial.number), default=None)

    def ask(self) -> Trial | None:
        """The next trial to run: open ones, then points, then what the sampler draws; None when there are no more.

        A new suggestion is in the ledger before it is returned.
        """
        if not self.num_left:
            return None
        # A fresh sampler for each draw: what it draws depends on the history only, not on when the driver was started.
        self._optuna.sampler = _sampler(self.space, len(self.trials))
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
            )
            folder = self._folder(asked.number)
            self._publish(storage.join(folder, SUGGESTED), suggestion)
            self.trials.append(Trial(suggestion, folder))
        trial = self.trials[asked.number]
        trial.running = asked
        return trial

    def report(self, number: int, epochs: Iterable[Epoch]) -> None:
        """Note epochs of a running trial; those known already, from before an interruption, are passed over."""
        trial = self.trials[number]
        assert trial.running is not None, f"trial {number} is not running"
        for epoch in epochs:
            if epoch.epoch not in trial.epochs:
                trial.epochs[epoch.epoch] = epoch
                trial.running.report(epoch.val_error_pct, step=epoch.epoch)

    def finish(
        self,
        number: int,
        state: Literal["complete", "pruned", "failed"],
        *,
        reason: str | None = None,
        traceback: str | None = None,
    ) -> None:
        """Enter the end of a running trial in the ledger, then tell the sampler.

        Raises:
            StudyError: Another driver has done so.
        """
        trial = self.trials[number]
        assert trial.running is not None, f"trial {number} is not running"
        epochs = tuple(trial.epochs[epoch] for epoch in sorted(trial.epochs))
        outcome = Outcome(state=state, epochs=epochs, reason=reason, traceback=traceback)
        self._publish(storage.join(trial.folder, FINISHED), outcome)
        value = trial.error_pct if state == "complete" else None
        self._optuna.tell(trial.running, value, state=_STATES[state])
        trial.outcome, trial.running = outcome, None

    def _publish(self, uri: str, document: Options) -> None:
        try:
            storage.write_json(uri, document.model_dump(mode="json"), if_absent=True)
        except storage.ObjectExistsError:
            raise StudyError(f"{uri} exists: another driver is at work on this study. Stop one of them") from None

    def _folder(self, number: int) -> str:
        return storage.join(self.uri, TRIALS, f"{number:06d}")

    def _ledger(self) -> Iterator[tuple[Suggestion, Outcome | None]]:
        for name in storage.list_names(storage.join(self.uri, TRIALS)):
            folder = storage.join(self.uri, TRIALS, name)
            suggestion = _read(storage.join(folder, SUGGESTED), Suggestion)
            if suggestion is None:
                continue  # its publication was interrupted: the trial never was
            if suggestion.number != len(self.trials):
                raise StudyError(f"{self.uri} is damaged: trial {len(self.trials)} is missing")
            yield suggestion, _read(storage.join(folder, FINISHED), Outcome)


_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


def _frozen(trial: Trial) -> optuna.trial.FrozenTrial:
    """A finished trial as Optuna would have it had it run it."""
    outcome, suggestion = trial.outcome, trial.suggestion
    assert outcome is not None
    last = outcome.epochs[-1].val_error_pct if outcome.epochs else None
    return create_trial(
        state=_STATES[outcome.state],
        value={"complete": trial.error_pct, "pruned": last, "failed": None}[outcome.state],
        params=dict(suggestion.params),
        distributions={name: json_to_distribution(text) for name, text in suggestion.distributions.items()},
        intermediate_values={epoch.epoch: epoch.val_error_pct for epoch in outcome.epochs},
        user_attrs={"reason": outcome.reason} if outcome.reason else {},
    )


def _sampler(space: SearchSpace, number: int) -> optuna.samplers.BaseSampler:
    seed = int(np.random.SeedSequence([space.study.seed, number]).generate_state(1)[0])
    if isinstance(space.sampler, Random):
        return optuna.samplers.RandomSampler(seed)
    with warnings.catch_warnings():
        # Groups make conditional parameters part of the joint estimate; Optuna calls them experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=space.sampler.startup_trials, group=True)


def _document(space: SearchSpace, data_fingerprint: str) -> dict[str, Any]:
    """All that makes a study the same study; not how many trials, where they run, or what becomes of the best."""
    document = space.model_dump(mode="json", by_alias=True, exclude={"base", "budget", "final"})
    base = space.config({}).model_dump(mode="json", exclude={"compute": True, "data": {"uri"}})
    return {"schema_version": SCHEMA_VERSION, "data_fingerprint": data_fingerprint, "base": base, **document}


def _differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Dotted paths of what two JSON documents do not share."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from _differences(one.get(key), other.get(key), f"{path}.{key}" if path else key)
    elif one != other:
        yield path


def _read(uri: str, kind: type[Document]) -> Document | None:
    try:
        return kind.model_validate(storage.read_json(uri))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StudyError(f"{uri} is damaged: {error}") from error
