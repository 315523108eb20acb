"""The durable part of a study: a folder of small immutable JSON objects, each published whole and once.

    STUDY/space.json                     what is searched; put-if-absent, so one study for each place
    STUDY/trials/000012/suggested.json   parameters and the whole training configuration; before the trial starts
    STUDY/trials/000012/finished.json    how it ended and all its epochs
    STUDY/trials/000012/…                the files of its training run
    STUDY/final.json, STUDY/final/…      the score of the best trial on the test split

Nothing is pickled, nothing is overwritten, and the driver is the only writer. A trial that is suggested and not
finished is to be run again, from the last checkpoint among its files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeVar

from rcn_search import storage
from rcn_search.config import Options, TrainConfig
from rcn_search.search.space import Values

SCHEMA_VERSION = 1
_SPACE = "space.json"
_TRIALS = "trials"
_SUGGESTED = "suggested.json"
_FINISHED = "finished.json"
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


class Ledger:
    """The ledger at a URI."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def start(self, space: dict[str, Any]) -> None:
        """Publish what is searched. A study of the same space without a trial, whose start failed, is taken over.

        Raises:
            StudyError: There is a study already.
        """
        try:
            storage.write_json(storage.join(self.uri, _SPACE), _versioned(space), if_absent=True)
        except storage.ObjectExistsError:
            if next(self.trials(), None) is not None:
                raise StudyError(
                    f"{self.uri} holds a study already; add --resume to go on with it, or name another place"
                ) from None
            self.check(space)

    def check(self, space: dict[str, Any]) -> None:
        """Make sure that it is this that is searched.

        Raises:
            StudyError: There is no study, or one of another space; the message names what differs.
        """
        try:
            there = storage.read_json(storage.join(self.uri, _SPACE))
        except FileNotFoundError:
            raise StudyError(f"there is no study at {self.uri} to resume; leave out --resume to start one") from None
        if changed := sorted(_differences({**there, "base": _as_of_today(there.get("base"))}, _versioned(space))):
            raise StudyError(
                f"the study at {self.uri} was started with another space. Different: {', '.join(changed)}. "
                "Put them back, or start a study at another place"
            )

    def folder(self, number: int) -> str:
        """Where a trial has its files."""
        return storage.join(self.uri, _TRIALS, f"{number:06d}")

    def trials(self) -> Iterator[tuple[Suggestion, Outcome | None]]:
        """All trials, by number.

        Raises:
            StudyError: An object is damaged or missing.
        """
        number = 0
        for name in storage.list_names(storage.join(self.uri, _TRIALS)):
            folder = storage.join(self.uri, _TRIALS, name)
            suggestion = _read(storage.join(folder, _SUGGESTED), Suggestion)
            if suggestion is None:
                continue  # its publication was interrupted: the trial never was
            if suggestion.number != number:
                raise StudyError(f"{self.uri} is damaged: trial {number} is missing")
            yield suggestion, _read(storage.join(folder, _FINISHED), Outcome)
            number += 1

    def suggest(self, suggestion: Suggestion) -> None:
        """Publish a suggestion.

        Raises:
            StudyError: Another driver has published one of this number.
        """
        self._publish(storage.join(self.folder(suggestion.number), _SUGGESTED), suggestion)

    def finish(self, number: int, outcome: Outcome) -> None:
        """Publish how a trial ended.

        Raises:
            StudyError: Another driver has done so.
        """
        self._publish(storage.join(self.folder(number), _FINISHED), outcome)

    def _publish(self, uri: str, document: Options) -> None:
        try:
            storage.write_json(uri, document.model_dump(mode="json"), if_absent=True)
        except storage.ObjectExistsError:
            raise StudyError(f"{uri} exists: another driver is at work on this study. Stop one of them") from None


def base_document(base: TrainConfig) -> dict[str, Any]:
    """What is the same for all trials of a study; not where it runs or where the data set is."""
    return base.model_dump(mode="json", exclude={"compute": True, "data": {"uri"}})


def _as_of_today(base: Any) -> Any:
    """A `base_document` with every option there is today: one that came later had its default."""
    try:
        return base_document(TrainConfig.model_validate({**base, "data": {**base["data"], "uri": "anywhere"}}))
    except (ValueError, TypeError, LookupError):
        return base  # not one that could be gone on with; what differs will be named


def _versioned(space: dict[str, Any]) -> dict[str, Any]:
    return {"schema_version": SCHEMA_VERSION, **space}


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
