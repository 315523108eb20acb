"""A study as it is now: read from any machine and while it runs, without a lease and without writing anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import ConfigDict, RootModel, model_validator

from rcn_search import storage
from rcn_search.study.records import RESTORE, EpochResult, StudyError, check_order, read_record
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.training.exit_status import HISTORY_NAME


class _SavedEpoch(EpochResult):
    """An epoch as the training saves it, with more than a study keeps."""

    model_config = ConfigDict(extra="ignore")


class _History(RootModel[list[_SavedEpoch]]):
    """Content of ``history.json``."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order(self.root)
        return self


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
    remedy = f"{RESTORE}; it is written again after the next epoch of trial {trial.number}"
    try:
        return read_record(uri, _History, remedy=remedy).root
    except FileNotFoundError:
        return []  # it has not ended its first epoch
