"""Trials and epochs of a study as Arrow tables, and tables as bytes of CSV or Parquet."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from rcn_search.study.space.parameter import Scalar
from rcn_search.study.trial import Trial


def trial_table(trials: Sequence[Trial]) -> pa.Table:
    """Make a table with a row for each trial; parameters are columns, null where they were not drawn."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    columns: dict[str, pa.Array] = {
        "trial": pa.array([trial.number for trial in trials], pa.int64()),
        "state": pa.array([trial.state for trial in trials], pa.string()),
        "error_pct": pa.array([trial.error_pct for trial in trials], pa.float64()),
        "epochs": pa.array([len(trial.epochs) for trial in trials], pa.int64()),
        "busy_s": pa.array([trial.busy_s for trial in trials], pa.float64()),
        "reason": pa.array([trial.result.reason if trial.result else None for trial in trials], pa.string()),
        "run_id": pa.array([trial.run_id for trial in trials], pa.string()),
        "folder": pa.array([trial.folder for trial in trials], pa.string()),
    }
    parameters = {name: _column([trial.params.get(name) for trial in trials]) for name in names}
    return pa.table({**columns, **parameters})


def epoch_table(trials: Iterable[Trial]) -> pa.Table:
    """Make a table with a row for each epoch of each trial."""
    rows = [
        {"trial": trial.number, **trial.epochs[number].model_dump()}
        for trial in trials
        for number in sorted(trial.epochs)
    ]
    real = ("loss", "val_error_pct", "best_error_pct", "train_s", "val_s", "other_s")
    fields = [("trial", pa.int64()), ("epoch", pa.int64()), *((name, pa.float64()) for name in real)]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def _column(values: Sequence[Scalar]) -> pa.Array:
    """Make a column of one type: numbers, or if some values are words (``paper`` or 16), all as words."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) == 1 or kinds == {int, float}:
        return pa.array(values)
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def csv_bytes(table: pa.Table) -> bytes:
    """Format a table as CSV with a header; missing values are empty."""
    file = io.BytesIO()
    pyarrow.csv.write_csv(table, file)
    return file.getvalue()


def parquet_bytes(table: pa.Table) -> bytes:
    """Format a table as a Parquet file."""
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file)
    return file.getvalue()
