"""A study as it is now: read from any machine and while it runs, without a lease and without writing anything."""

from __future__ import annotations

from rcn_search import storage
from rcn_search.study.records import EpochResult, StudyError
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.training.exit_status import HISTORY_NAME

_SAVED_FIELDS = ("epoch", "loss", "val_error_pct", "best_error_pct", "train_s", "val_s")


def open_study(uri: str) -> Study:
    """Open a study to read its trials, including the epochs that running trials have saved so far.

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
        StudyError: There is no study, it is damaged, or another version of rcn-search wrote it.
    """
    study = Study.open(uri)
    for trial in study.trials:
        if trial.result is None:
            trial.epochs = {epoch.epoch: epoch for epoch in _read_saved_epochs(trial)}
    return study


def _read_saved_epochs(trial: Trial) -> list[EpochResult]:
    uri = storage.join(trial.folder, HISTORY_NAME)
    try:
        reports = storage.read_json(uri)
        return [EpochResult.model_validate({name: report[name] for name in _SAVED_FIELDS}) for report in reports]
    except FileNotFoundError:
        return []  # it has not ended its first epoch
    except (ValueError, TypeError, LookupError) as error:
        raise StudyError(f"{uri} is damaged: {error}") from error
