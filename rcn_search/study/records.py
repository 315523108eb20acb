"""The durable part of a study: a folder of small immutable JSON objects, each published whole and once.

    STUDY/study.json                     what is searched; put-if-absent, so one study for each place
    STUDY/trials/000012/trial.json   parameters and the whole training configuration; before the trial starts
    STUDY/trials/000012/result.json    how it ended and all its epochs
    STUDY/trials/000012/…                the files of its training run
    STUDY/test_result.json, STUDY/test/…  the score of the best trial on the test split
    STUDY/winner.json, STUDY/replication/…   who won by its replicates, and these, a study of rows
    STUDY/warm_start-….json               trials taken over from the study that this one was branched from
    STUDY/leases/000003/…                who drives, one after another (see `rcn_search.study.lease`)

Nothing is pickled, nothing is overwritten, and the driver is the only writer. A trial that is suggested and not
finished is to be run again, from the last checkpoint among its files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

from pydantic import Field

from rcn_search import storage
from rcn_search.config.schema import FrozenModel, TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.study.space.study_config import Values

SCHEMA_VERSION = 1
_SPACE = "study.json"
WARM_START = "parent"
"""Key of study.json: from which study this one was branched."""
_READ_AT_ONCE, _NUM_READERS = 512, 32
_TRIALS = "trials"
TRIAL_NAME = "trial.json"
_FINISHED = "result.json"
Document = TypeVar("Document", bound=FrozenModel)


class StudyError(RcnSearchError):
    """A study cannot be started or gone on with; the message says why and what to do."""


class TrialRecord(FrozenModel):
    """One trial as it was drawn.

    Attributes:
        number: From 0, in the order of drawing.
        params: Drawn values, by the parameters' own names.
        distributions: What they were drawn from, as Optuna writes it.
        config: What to train.
        run_id: Of ``config``.
        at: When it was drawn, in seconds since 1970; none in studies from before this was kept.
    """

    schema_version: int = SCHEMA_VERSION
    number: int
    params: Values
    distributions: dict[str, str]
    config: TrainConfig
    run_id: str
    created_at: float | None = None


class EpochResult(FrozenModel):
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


class TrialResult(FrozenModel):
    """How a trial ended.

    Attributes:
        state: ``pruned``: stopped early by the scheduler, after the last of ``epochs``.
        epochs: All of them, in order.
        reason: Why it failed.
        traceback: Where, if that helps.
        measured: Of the network, once per trial: ``parameters``, ``latency_ms``, whatever was asked for.
        at: When it ended, as in `Suggestion`.
    """

    schema_version: int = SCHEMA_VERSION
    state: Literal["complete", "pruned", "failed"]
    epochs: tuple[EpochResult, ...]
    reason: str | None = None
    traceback: str | None = None
    metrics: Mapping[str, float] = Field(default_factory=dict)
    ended_at: float | None = None


class WarmStartTrial(FrozenModel):
    """An ended trial of another study, from which this one was branched.

    Attributes:
        origin: URI of that study.
        suggestion: With its number there, and the parameters as they would be drawn here.
        outcome: How it ended.
    """

    origin: str
    record: TrialRecord
    result: TrialResult


class StudyStore:
    """The ledger at a URI; ``check`` is called before anything of a trial is published, and raises if we may not."""

    def __init__(self, uri: str, check: Callable[[], None] = lambda: None) -> None:
        self.uri = uri
        self._check = check

    def create(self, space: dict[str, Any]) -> None:
        """Publish what is searched; once.

        Raises:
            ObjectExistsError: There is a study already.
        """
        storage.write_json(storage.join(self.uri, _SPACE), {"schema_version": SCHEMA_VERSION, **space}, if_absent=True)

    def read_study(self) -> dict[str, Any]:
        """What is searched, as it was published.

        Raises:
            StudyError: There is no study, or its study.json is damaged.
        """
        place = storage.join(self.uri, _SPACE)
        try:
            document = storage.read_json(place)
        except FileNotFoundError:
            raise StudyError(f"there is no study at {self.uri}; tune without --resume starts one") from None
        except ValueError as error:
            raise StudyError(f"{place} is damaged: {error}") from error
        if not isinstance(document, dict) or document.get("schema_version", 0) > SCHEMA_VERSION:
            raise StudyError(f"{place} is of a newer version of rcn-search, or damaged")
        return document

    def read_warm_start(self, space: dict[str, Any]) -> list[WarmStartTrial]:
        """Trials taken over from other studies, given what `space` returned.

        Raises:
            StudyError: They are missing or damaged.
        """
        if WARM_START not in space:
            return []
        place = storage.join(self.uri, space[WARM_START]["trials"])
        try:
            return [WarmStartTrial.model_validate(trial) for trial in storage.read_json(place)]
        except (FileNotFoundError, ValueError) as error:
            raise StudyError(f"{place} is damaged: {error}") from error

    def trial_folder(self, number: int) -> str:
        """Where a trial has its files."""
        return storage.join(self.uri, _TRIALS, f"{number:06d}")

    def read_trials(self) -> Iterator[tuple[TrialRecord, TrialResult | None]]:
        """All trials, by number.

        Raises:
            StudyError: An object is damaged or missing.
        """
        names = storage.list_names(storage.join(self.uri, _TRIALS))
        number = 0
        for start in range(0, len(names), _READ_AT_ONCE):
            for suggestion, outcome in self._read_many(names[start : start + _READ_AT_ONCE]):
                if suggestion is None:
                    continue  # its publication was interrupted: the trial never was
                if suggestion.number != number:
                    raise StudyError(f"{self.uri} is damaged: trial {number} is missing")
                yield suggestion, outcome
                number += 1

    def _read_many(self, names: list[str]) -> list[tuple[TrialRecord | None, TrialResult | None]]:
        def read(name: str) -> tuple[TrialRecord | None, TrialResult | None]:
            folder = storage.join(self.uri, _TRIALS, name)
            suggestion = _read(storage.join(folder, TRIAL_NAME), TrialRecord)
            return suggestion, _read(storage.join(folder, _FINISHED), TrialResult)

        if storage.is_local(self.uri):
            return [read(name) for name in names]
        with ThreadPoolExecutor(_NUM_READERS) as pool:  # an object store answers many as quickly as one
            return list(pool.map(read, names))

    def write_trial(self, suggestion: TrialRecord) -> None:
        """Publish a suggestion.

        Raises:
            StudyError: Another driver has published one of this number.
        """
        self._publish(storage.join(self.trial_folder(suggestion.number), TRIAL_NAME), suggestion)

    def write_result(self, number: int, outcome: TrialResult) -> None:
        """Publish how a trial ended.

        Raises:
            StudyError: Another driver has done so.
        """
        self._publish(storage.join(self.trial_folder(number), _FINISHED), outcome)

    def _publish(self, uri: str, document: FrozenModel) -> None:
        self._check()
        try:
            storage.write_json(uri, document.model_dump(mode="json"), if_absent=True)
        except storage.ObjectExistsError:
            raise StudyError(f"{uri} exists: another driver is at work on this study. Stop one of them") from None


def _read(uri: str, kind: type[Document]) -> Document | None:
    try:
        return kind.model_validate_json(storage.read_bytes(uri))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StudyError(f"{uri} is damaged: {error}") from error
