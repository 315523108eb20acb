"""A study as Optuna has it: in memory, for its figures, or as the SQLite database that optuna-dashboard opens."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import json_to_distribution
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from rcn_search.study.objectives import constraint_values, directions, objective_values
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial

_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
    "open": TrialState.RUNNING,  # Optuna has no word for a trial that is to be taken up again
}
_UNKNOWN_START = datetime(1970, 1, 1)
"""Of trials from before the ledger kept times: only how long they took is known."""
_FINITE = "FINITE"
"""Optuna's word for a number; the ledger holds no infinities and no NaN, as JSON has none."""


def in_memory(study: Study) -> optuna.Study:
    """A copy as a study of Optuna; what Optuna has no field for becomes user attributes."""
    return _copy(study, InMemoryStorage(), frozen_trials(study))


def database(study: Study) -> bytes:
    """The same as an SQLite database, to be written to a file."""
    trials = frozen_trials(study)
    with tempfile.TemporaryDirectory(prefix="rcn-search-export-") as folder:
        path = Path(folder) / "study.db"
        place = RDBStorage(f"sqlite:///{path}")
        copy = _copy(study, place, ())
        # Optuna's own add_trials takes tens of ms for each trial: a session and several queries for each value.
        with closing(sqlite3.connect(path)) as connection, connection:
            _insert(connection, place.get_study_id_from_name(copy.study_name), trials)
        assert copy.get_trials(deepcopy=False) == trials, "Optuna reads it differently"
        place.remove_session()
        place.engine.dispose()
        return path.read_bytes()


def _copy(study: Study, place: InMemoryStorage | RDBStorage, trials: Sequence[FrozenTrial]) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would announce the study it makes
    copy = optuna.create_study(
        study_name=study.config.study.name,
        storage=place,
        directions=[StudyDirection[each.upper()] for each in directions(study.config)],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        copy.set_metric_names(list(study.config.objectives))
    copy.set_user_attr("uri", study.uri)
    copy.add_trials(trials)
    return copy


def frozen_trials(study: Study) -> list[FrozenTrial]:
    """All trials as they would be had Optuna run them."""
    return [_frozen(study, trial) for trial in study.trials]


def _frozen(study: Study, trial: Trial) -> FrozenTrial:
    outcome, suggestion = trial.result, trial.record
    epochs = [trial.epochs[number] for number in sorted(trial.epochs)]
    attributes: dict[str, Any] = {"run_id": suggestion.run_id, "folder": trial.folder}
    values: list[float] | None = None
    constraints: dict[str, float] = {}
    if outcome:
        attributes |= {"reason": outcome.reason} if outcome.reason else {}
        attributes |= outcome.metrics
        constraints = constraint_values(study.config, suggestion.config, outcome.metrics)
        if outcome.state == "complete":
            values = objective_values(study.config, suggestion.config, epochs, outcome.metrics)
        elif outcome.state == "pruned" and epochs and len(study.config.objectives) == 1:
            values = [epochs[-1].val_error_pct]
    start = datetime.fromtimestamp(suggestion.created_at) if suggestion.created_at else _UNKNOWN_START
    end = datetime.fromtimestamp(outcome.ended_at) if outcome and outcome.ended_at else start + timedelta(seconds=trial.busy_s)
    frozen = FrozenTrial(
        number=trial.number,
        trial_id=_row_id(trial.number),
        state=_STATES[trial.state],
        value=None,
        values=values,
        datetime_start=start,
        datetime_complete=end if outcome else None,
        params=dict(suggestion.params),
        distributions={name: json_to_distribution(text) for name, text in suggestion.distributions.items()},
        user_attrs=attributes,
        intermediate_values={epoch.epoch: epoch.val_error_pct for epoch in epochs},
        system_attrs={},
    )
    for name, excess in constraints.items():
        frozen.set_constraint(name, excess)
    return frozen


def _insert(connection: sqlite3.Connection, study_id: int, trials: Sequence[FrozenTrial]) -> None:
    """Write trials as Optuna's tables have them."""
    for table, rows in {
        "trials (trial_id, number, study_id, state, datetime_start, datetime_complete)": (
            (
                _row_id(each.number),
                each.number,
                study_id,
                each.state.name,
                _time(each.datetime_start),
                _time(each.datetime_complete),
            )
            for each in trials
        ),
        "trial_params (trial_id, param_name, param_value, distribution_json)": (
            (
                _row_id(each.number),
                name,
                each.distributions[name].to_internal_repr(value),
                optuna.distributions.distribution_to_json(each.distributions[name]),
            )
            for each in trials
            for name, value in each.params.items()
        ),
        "trial_values (trial_id, objective, value, value_type)": (
            (_row_id(each.number), objective, value, _FINITE)
            for each in trials
            for objective, value in enumerate(each.values or ())
        ),
        "trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type)": (
            (_row_id(each.number), step, value, _FINITE)
            for each in trials
            for step, value in each.intermediate_values.items()
        ),
        "trial_user_attributes (trial_id, key, value_json)": _attributes(trials, "user_attrs"),
        "trial_system_attributes (trial_id, key, value_json)": _attributes(trials, "system_attrs"),
    }.items():
        marks = ", ".join("?" * (table.count(",") + 1))
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)


def _attributes(trials: Sequence[FrozenTrial], kind: str) -> Iterator[tuple[int, str, str]]:
    return (
        (_row_id(each.number), key, json.dumps(value)) for each in trials for key, value in getattr(each, kind).items()
    )


def _row_id(number: int) -> int:
    """SQLite's rows are counted from 1."""
    return number + 1


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S.%f")
