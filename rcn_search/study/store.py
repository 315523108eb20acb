"""The durable part of a study: a folder of small immutable JSON objects, each published whole and once.

    STUDY/study.json                  configuration and identity; put-if-absent, so one study per folder
    STUDY/trials/000012/trial.json    parameters and training configuration; written before the trial starts
    STUDY/trials/000012/result.json   how the trial ended, with all its epochs
    STUDY/trials/000012/…             the files of its training run
    STUDY/leases/000003/…             which search process runs the study (see `rcn_search.study.lease`)
    STUDY/warm_start-….json           trials of an earlier study that this one was warm-started from
    STUDY/test_result.json, test/…    scores of the best trial on the test split
    STUDY/winner.json, replication/…  the winner by its replication runs, and these runs: a fixed-run study

Nothing is pickled, nothing is overwritten, and the process that holds the lease is the only writer. A trial without a
result is run again, from the last checkpoint among its files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from rcn_search import storage
from rcn_search.config.schema import FrozenModel
from rcn_search.study.records import SCHEMA_VERSION, StudyError, TrialRecord, TrialResult, WarmStartTrial

STUDY_NAME = "study.json"
TRIAL_NAME = "trial.json"
_OLD_STUDY_NAME = "space.json"  # of schema version 1
_RESULT_NAME, _TRIALS = "result.json", "trials"
WARM_START = "warm_start"
"""Key of study.json: the study that this one was warm-started from."""
_BATCH_SIZE, _NUM_READERS = 512, 32
_Record = TypeVar("_Record", bound=FrozenModel)


def study_exists(uri: str) -> bool:
    """Whether a study has been started at ``uri``."""
    return storage.exists(storage.join(uri, STUDY_NAME))


class StudyStore:
    """Reads and writes the records of the study at ``uri``; ``check_lease`` raises if this process may not write."""

    def __init__(self, uri: str, check_lease: Callable[[], None] = lambda: None) -> None:
        self.uri, self._check_lease = uri, check_lease

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
            document = storage.read_json(uri)
        except FileNotFoundError:
            self._refuse_old_study()
            raise StudyError(f"no study at {self.uri}; rcn-search tune without --resume starts one") from None
        except ValueError as error:
            raise StudyError(f"{uri} is damaged: {error}") from error
        if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
            raise StudyError(f"{uri} is damaged, or was written by another version of rcn-search")
        return document

    def _refuse_old_study(self) -> None:
        if storage.exists(storage.join(self.uri, _OLD_STUDY_NAME)):
            raise StudyError(
                f"the study at {self.uri} was written by an older version of rcn-search; start a new study elsewhere"
            )

    def read_warm_start(self, document: dict[str, Any]) -> list[WarmStartTrial]:
        """Read the trials of a warm start; ``document`` is study.json. StudyError if they are missing or damaged."""
        if WARM_START not in document:
            return []
        uri = storage.join(self.uri, document[WARM_START]["trials"])
        try:
            return [WarmStartTrial.model_validate(trial) for trial in storage.read_json(uri)]
        except (FileNotFoundError, ValueError) as error:
            raise StudyError(f"{uri} is missing or damaged: {error}") from error

    def trial_folder(self, number: int) -> str:
        """URI of the folder of a trial's files."""
        return storage.join(self.uri, _TRIALS, f"{number:06d}")

    def read_trials(self) -> Iterator[tuple[TrialRecord, TrialResult | None]]:
        """Read all trials by number, with results of ended ones; StudyError if an object is damaged or missing."""
        names = storage.list_names(storage.join(self.uri, _TRIALS))
        number = 0
        for start in range(0, len(names), _BATCH_SIZE):
            for record, result in self._read_batch(names[start : start + _BATCH_SIZE]):
                if record is None:
                    continue  # writing trial.json was interrupted, so the trial never existed
                if record.number != number:
                    raise StudyError(f"{self.uri} is damaged: trial {number} is missing")
                yield record, result
                number += 1

    def _read_batch(self, names: list[str]) -> list[tuple[TrialRecord | None, TrialResult | None]]:
        def read(name: str) -> tuple[TrialRecord | None, TrialResult | None]:
            folder = storage.join(self.uri, _TRIALS, name)
            record = _read(storage.join(folder, TRIAL_NAME), TrialRecord)
            return record, _read(storage.join(folder, _RESULT_NAME), TrialResult)

        if storage.is_local(self.uri):
            return [read(name) for name in names]
        with ThreadPoolExecutor(_NUM_READERS) as pool:  # an object store answers many requests as quickly as one
            return list(pool.map(read, names))

    def write_trial(self, record: TrialRecord) -> None:
        """Publish a trial."""
        self._publish(storage.join(self.trial_folder(record.number), TRIAL_NAME), record)

    def write_result(self, number: int, result: TrialResult) -> None:
        """Publish how a trial ended."""
        self._publish(storage.join(self.trial_folder(number), _RESULT_NAME), result)

    def _publish(self, uri: str, record: FrozenModel) -> None:
        self._check_lease()
        try:
            storage.write_json(uri, record.model_dump(mode="json"), if_absent=True)
        except storage.ObjectExistsError:
            raise StudyError(f"{uri} exists: another search process runs this study. Stop one of them") from None


def _read(uri: str, kind: type[_Record]) -> _Record | None:
    try:
        return kind.model_validate_json(storage.read_bytes(uri))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StudyError(f"{uri} is damaged: {error}") from error
