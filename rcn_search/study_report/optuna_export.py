"""A study as a study of Optuna: in memory, for Optuna's figures, or as a journal file, for optuna-dashboard."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import json_to_distribution
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from rcn_search.machine import gc_paused
from rcn_search.study.objectives import constraint_values, directions, objective_values
from rcn_search.study.study import Study
from rcn_search.study.trial import OPTUNA_STATES, Trial

# Optuna has no state for an open trial, which will be resumed.
_STATES = OPTUNA_STATES | {"running": TrialState.RUNNING, "open": TrialState.RUNNING}
_UNKNOWN_START = datetime(1970, 1, 1)
"""Start of trials from before the study store kept times; only their durations are known."""


class _LogBuffer(BaseJournalBackend):
    """Journal in memory. A journal file is locked, written and synchronized to disk for every single trial."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.logs += logs


def in_memory(study: Study, trials: Sequence[Trial] | None = None) -> optuna.Study:
    """Copy a study to an Optuna study in memory, or some of its trials; the rest becomes user attributes."""
    return _copy(study, InMemoryStorage(), trials)


def journal(study: Study) -> bytes:
    """Format a study as the content of an Optuna journal file."""
    buffer = _LogBuffer()
    _copy(study, JournalStorage(buffer))
    with tempfile.TemporaryDirectory(prefix="rcn-search-export-") as folder:
        path = Path(folder) / "study.journal"
        JournalFileBackend(str(path)).append_logs(buffer.logs)
        return path.read_bytes()


def _copy(study: Study, optuna_storage: BaseStorage, trials: Sequence[Trial] | None = None) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would announce the study it creates
    copy = optuna.create_study(
        study_name=study.config.study.name,
        storage=optuna_storage,
        directions=[StudyDirection[direction.upper()] for direction in directions(study.config)],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        copy.set_metric_names(list(study.config.objectives))
    copy.set_user_attr("uri", study.uri)
    with gc_paused():  # thousands of trials stay in memory: collecting garbage would take a third of the time
        copy.add_trials([_frozen_trial(study, trial) for trial in (study.trials if trials is None else trials)])
    return copy


def frozen_trials(study: Study) -> list[FrozenTrial]:
    """Convert all trials to what they would be if Optuna had run them."""
    return [_frozen_trial(study, trial) for trial in study.trials]


def _frozen_trial(study: Study, trial: Trial) -> FrozenTrial:
    result, record = trial.result, trial.record
    epochs = [trial.epochs[number] for number in sorted(trial.epochs)]
    attributes: dict[str, Any] = {"run_id": record.run_id, "folder": trial.folder}
    values: list[float] | None = None
    constraints: dict[str, float] = {}
    if result:
        attributes |= {"reason": result.reason} if result.reason else {}
        attributes |= result.metrics
        constraints = constraint_values(study.config, record.config, result.metrics)
        if result.state == "complete":
            values = objective_values(study.config, record.config, epochs, result.metrics)
        elif result.state == "pruned" and epochs and len(study.config.objectives) == 1:
            values = [epochs[-1].val_error_pct]
    start = datetime.fromtimestamp(record.created_at) if record.created_at else _UNKNOWN_START
    ended_at = result.ended_at if result else None
    end = datetime.fromtimestamp(ended_at) if ended_at else start + timedelta(seconds=trial.busy_s)
    frozen = FrozenTrial(
        number=trial.number,
        trial_id=trial.number,
        state=_STATES[trial.state],
        value=None,
        values=values,
        datetime_start=start,
        datetime_complete=end if result else None,
        params=dict(record.params),
        distributions={name: json_to_distribution(text) for name, text in record.distributions.items()},
        user_attrs=attributes,
        intermediate_values={epoch.epoch: epoch.val_error_pct for epoch in epochs},
        system_attrs={},
    )
    for name, excess in constraints.items():
        frozen.set_constraint(name, excess)
    return frozen
