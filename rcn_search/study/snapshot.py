"""A study as it is now: read from any machine and while it runs, without a lease and without writing anything."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ConfigDict, RootModel

from rcn_search import storage
from rcn_search.study.records import (
    RESTORE,
    EpochResult,
    StudyError,
    check_order,
    read_json,
    read_record,
    validate_record,
)
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.training.exit_status import HISTORY_NAME
from rcn_search.training.history import part_uris_before


class _SavedEpoch(EpochResult):
    """An epoch as the training saves it, with more than a study keeps."""

    model_config = ConfigDict(extra="ignore")


class _History(RootModel[list[_SavedEpoch]]):
    """Content of ``history.json`` and of the parts before it."""


def open_study(uri: str) -> Study:
    """Open a study to read its trials, including the epochs that running trials have saved so far.

    Damaged objects are left out and described in `Study.problems`.

    To see what happened since, open it again.

    >>> from rcn_search.study.loading import load_study_config
    >>> config = load_study_config("search_spaces/rcn.yaml", overrides=["study.name=example"])
    >>> _ = Study.start("memory://example", config, data_fingerprint="none")
    >>> study = open_study("memory://example")
    >>> study.config.study.name, study.num_remaining, study.trials, study.best_trial
    ('example', 60, [], None)

    Args:
        uri: Folder or URI of the study.

    Raises:
        StudyError: There is no study, study.json is damaged, or another version of rcn-search wrote it.
    """
    study = Study.open(uri)
    for trial in study.trials:
        if trial.result is None:
            try:
                trial.epochs = {epoch.epoch: epoch for epoch in _read_saved_epochs(trial)}
            except StudyError as error:
                study.problems.append(str(error))
    return study


def _read_saved_epochs(trial: Trial) -> Sequence[EpochResult]:
    uri = storage.join(trial.folder, HISTORY_NAME)
    remedy = f"{RESTORE}; it is written again when trial {trial.number} is saved again"
    try:
        rest = read_json(uri, remedy=remedy)
    except FileNotFoundError:
        return []  # it is not saved yet
    epochs: list[EpochResult] = []
    for part in part_uris_before(trial.folder, rest):
        try:
            epochs += read_record(part, _History).root
        except FileNotFoundError:
            raise StudyError(f"{part} is missing; {RESTORE}") from None
    epochs += validate_record(uri, _History, rest, remedy=remedy).root
    try:
        check_order(epochs)
    except ValueError as error:
        raise StudyError(f"{uri} is damaged: {error}; {remedy}") from None
    return epochs
