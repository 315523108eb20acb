"""The durable part of a study: a folder of small immutable JSON objects, each published whole and once.

    STUDY/study.json                  configuration and identity; put-if-absent, so one study per folder
    STUDY/trials/000012/trial.json    parameters and training configuration; written before the trial starts
    STUDY/trials/000012/result.json   how the trial ended, with all its epochs
    STUDY/trials/000012/…             the files of its training run
    STUDY/segments/000001.json        copies of the records of trials 512 to 1023, which have ended
    STUDY/leases/000003/…             which search process runs the study (see `rcn_search.study.lease`)
    STUDY/stops/000000.json           that a stop rule held, and why
    STUDY/warm_start-….json           trials of an earlier study that this one was warm-started from
    STUDY/test_result.json, test/…    scores of the best trial on the test split
    STUDY/winner.json, replication/…  the winner by its replication runs, and these runs: a fixed-run study

Nothing is pickled, nothing is overwritten, and the process that holds the lease is the only writer. A trial without a
result is run again, from the last checkpoint among its files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, NoReturn

from rcn_search import storage
from rcn_search.config.schema import FrozenModel
from rcn_search.errors import MAX_LISTED
from rcn_search.study.records import (
    RESTORE,
    SCHEMA_VERSION,
    PriorRecord,
    StopRecord,
    StudyError,
    TrialRecord,
    TrialResult,
    WarmStartOrigin,
    WarmStartTrial,
    WarmStartTrials,
    read_json,
    read_record,
    validate_record,
)
from rcn_search.study.segments import SEGMENT_TRIALS, SegmentWriter, list_segments, read_segment
from rcn_search.study.space.sections import StopRule

STUDY_NAME = "study.json"
TRIAL_NAME = "trial.json"
RESULT_NAME = "result.json"
_OLD_STUDY_NAME = "space.json"  # of schema version 1
_TRIALS, _STOPS = "trials", "stops"
_NUMBER = re.compile(r"\d{6,12}")
PRIOR = "prior"
"""Key of study.json: what is known from other studies."""
WARM_START = "warm_start"
"""Key of study.json: the study that this one was warm-started from."""
_NUM_READERS = 32
_ReadTrial = tuple[TrialRecord, TrialResult | None] | StudyError | None
_RESTORE_TRIAL = "restore it from a copy, or start a new study with the other trials, with --warm-start-from"
_RESTORE_RESULT = "restore it from a copy, or delete it: tune --resume then runs the trial from its last checkpoint"


def study_exists(uri: str) -> bool:
    """Whether a study has been started at ``uri``."""
    return storage.exists(storage.join(uri, STUDY_NAME))


class StudyStore:
    """Reads and writes the records of the study at ``uri``; ``check_lease`` raises if this process may not write."""

    def __init__(self, uri: str, check_lease: Callable[[], None] = lambda: None) -> None:
        self.uri, self._check_lease = uri, check_lease
        self._segments, self._records = SegmentWriter(), dict[int, TrialRecord]()

    def create(self, document: dict[str, Any]) -> None:
        """Publish study.json; ObjectExistsError if there is a study already."""
        self._refuse_old_study()
        content = {"schema_version": SCHEMA_VERSION, **document}
        storage.write_json(storage.join(self.uri, STUDY_NAME), content, if_absent=True)

    def read_study(self) -> dict[str, Any]:
        """Read study.json.

        Raises:
            StudyError: There is no study, study.json is damaged, or another version of rcn-search wrote it.
        """
        uri = storage.join(self.uri, STUDY_NAME)
        try:
            document = read_json(uri)
        except FileNotFoundError:
            self._refuse_old_study()
            raise StudyError(f"no study at {self.uri}; rcn-search tune without --resume starts one") from None
        version = document.get("schema_version") if isinstance(document, dict) else None
        if type(version) is not int or version != SCHEMA_VERSION:
            raise StudyError(f"{uri} is damaged, or was written by another version of rcn-search; {RESTORE}")
        return dict(document)

    def _refuse_old_study(self) -> None:
        if storage.exists(storage.join(self.uri, _OLD_STUDY_NAME)):
            raise StudyError(
                f"the study at {self.uri} was written by an older version of rcn-search; start a new study elsewhere"
            )

    def read_warm_start(self, document: dict[str, Any]) -> list[WarmStartTrial]:
        """Read the trials of a warm start; ``document`` is study.json. StudyError if they are missing or damaged."""
        if WARM_START not in document:
            return []
        study_uri = storage.join(self.uri, STUDY_NAME)
        origin = validate_record(f"{study_uri}, {WARM_START},", WarmStartOrigin, document[WARM_START])
        uri = storage.join(self.uri, origin.trials)
        try:
            return read_record(uri, WarmStartTrials).root
        except FileNotFoundError:
            raise StudyError(f"{uri} is missing; {RESTORE}") from None

    def read_prior(self) -> PriorRecord | None:
        """Read what the study knows from others; None if it has no prior, StudyError if that is damaged."""
        if (document := self.read_study().get(PRIOR)) is None:
            return None
        return validate_record(f"{storage.join(self.uri, STUDY_NAME)}, {PRIOR},", PriorRecord, document)

    def trial_folder(self, number: int) -> str:
        """URI of the folder of a trial's files."""
        return storage.join(self.uri, _TRIALS, f"{number:06d}")

    def read_trials(
        self, on_damaged: Callable[[int, StudyError], None] | None = None
    ) -> Iterator[tuple[TrialRecord, TrialResult | None]]:
        """Read all trials by number, with results of ended ones.

        Args:
            on_damaged: Called with the number of each trial that is damaged or missing, and why; it is left out.

        Raises:
            StudyError: An object is damaged or missing, and there is no ``on_damaged``.
        """
        names = [name for name in storage.list_names(storage.join(self.uri, _TRIALS)) if _NUMBER.fullmatch(name)]
        expected, report = 0, on_damaged or _raise
        by_segment = groupby(names, key=lambda name: int(name) // SEGMENT_TRIALS)
        segments = list_segments(self.uri) if len(names) >= SEGMENT_TRIALS else set()
        for number, batch in by_segment:
            for name, trial in self._read_batch(list(batch), number if number in segments else None):
                if trial is None:
                    continue  # writing trial.json was interrupted, so the trial never existed
                for missing in range(expected, min(int(name), expected + MAX_LISTED)):
                    uri = storage.join(self.trial_folder(missing), TRIAL_NAME)
                    report(missing, StudyError(f"{uri} is missing: trial {missing} is damaged; {_RESTORE_TRIAL}"))
                expected = int(name) + 1
                if isinstance(trial, StudyError):
                    report(int(name), trial)
                else:
                    self._remember(*trial, number in segments)
                    yield trial

    def _remember(self, record: TrialRecord, result: TrialResult | None, is_in_segment: bool) -> None:
        if result is None:
            self._records[record.number] = record
        elif not is_in_segment:
            self._segments.add(record, result)

    def _read_batch(self, names: list[str], segment: int | None) -> list[tuple[str, _ReadTrial]]:
        if segment is not None and (ended := read_segment(self.uri, segment)):
            by_number: dict[int, _ReadTrial] = {record.number: (record, result) for record, result in ended}
            return [(name, by_number[int(name)]) for name in names]
        if storage.is_local(self.uri):
            return [(name, self._read_trial(name)) for name in names]
        with ThreadPoolExecutor(_NUM_READERS) as pool:  # an object store answers many requests as quickly as one
            return list(zip(names, pool.map(self._read_trial, names), strict=True))

    def _read_trial(self, name: str) -> _ReadTrial:
        uri, result_uri = (storage.join(self.uri, _TRIALS, name, each) for each in (TRIAL_NAME, RESULT_NAME))
        try:
            record = read_record(uri, TrialRecord, remedy=_RESTORE_TRIAL)
        except FileNotFoundError:
            return None
        except StudyError as error:
            return error
        if record.number != int(name):
            return StudyError(f"{uri} is damaged: it is that of trial {record.number}; {_RESTORE_TRIAL}")
        try:
            return record, read_record(result_uri, TrialResult, remedy=_RESTORE_RESULT)
        except FileNotFoundError:
            return record, None
        except StudyError as error:
            return error

    def write_trial(self, record: TrialRecord) -> None:
        """Publish a trial."""
        self._publish(storage.join(self.trial_folder(record.number), TRIAL_NAME), record)
        self._records[record.number] = record

    def write_result(self, number: int, result: TrialResult) -> None:
        """Publish how a trial ended, and a segment if it was the last one of it."""
        self._publish(storage.join(self.trial_folder(number), RESULT_NAME), result)
        if record := self._records.pop(number, None):
            self._segments.add(record, result)
            self._segments.write(self.uri)

    def read_stop(self, rule: StopRule | None, num_trials: int) -> StopRecord | None:
        """Read why a study with this rule and so many trials has stopped; None if it has not.

        Raises:
            StudyError: The record is damaged.
        """
        folder = storage.join(self.uri, _STOPS)
        if rule is None or not (names := storage.list_names(folder)):
            return None
        stop = read_record(storage.join(folder, names[-1]), StopRecord)
        return stop if (stop.rule, stop.num_trials) == (rule, num_trials) else None

    def write_stop(self, stop: StopRecord) -> None:
        """Publish that a stop rule held."""
        folder = storage.join(self.uri, _STOPS)
        self._publish(storage.join(folder, f"{len(storage.list_names(folder)):06d}.json"), stop)

    def _publish(self, uri: str, record: FrozenModel) -> None:
        self._check_lease()
        try:
            storage.write_json(uri, record.model_dump(mode="json"), if_absent=True)
        except storage.ObjectExistsError:
            raise StudyError(f"{uri} exists: another search process runs this study. Stop one of them") from None


def _raise(number: int, error: StudyError) -> NoReturn:
    raise error
