"""A study as anybody may look at it, from any machine and while it runs: nothing is claimed, nothing is written."""

from __future__ import annotations

from rcn_search import storage
from rcn_search.study.records import EpochResult, StudyError
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.training.exit_status import HISTORY_NAME


def open_study(uri: str) -> Study:
    """The study at ``uri`` as it is now; of trials that have not ended, the epochs that their runs have saved.

    Raises:
        StudyError: There is no study, or an object of it is damaged.
    """
    study = Study.open(storage.absolute(uri))
    for trial in study.trials:
        if trial.result is None:
            trial.epochs = {epoch.epoch: epoch for epoch in _saved_epochs(trial)}
    return study


def _saved_epochs(trial: Trial) -> list[EpochResult]:
    place = storage.join(trial.folder, HISTORY_NAME)
    try:
        reports = storage.read_json(place)
        return [EpochResult.model_validate({key: report[key] for key in _SAVED}) for report in reports]
    except FileNotFoundError:
        return []  # it has not ended its first epoch
    except (ValueError, TypeError, LookupError) as error:
        raise StudyError(f"{place} is damaged: {error}") from error


_SAVED = ("epoch", "loss", "val_error_pct", "best_error_pct", "train_s", "val_s")
