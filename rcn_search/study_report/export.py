"""Export of a study to a file: an Optuna journal, tables, or a page of figures, by the suffix of its name.

An export is a copy, written whole and then published under its name in one step. It does not change the study.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.printable import csv_cell
from rcn_search.study.space.parameter import Scalar
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial


def export(study: Study, target: str) -> list[str]:
    """Write a study to a file, or two, and return the URIs.

    Args:
        study: Snapshot of the study.
        target: Path or URI of the file. ``.journal`` or ``.log``: journal of Optuna, for optuna-dashboard. ``.csv``,
            ``.parquet``: a table of trials, and beside it, in ``NAME-epochs``, one of epochs. ``.html``: a page of
            figures.

    Raises:
        RcnSearchError: The suffix is unknown, or a package that writes the format is not installed.
    """
    suffix = PurePosixPath(target).suffix
    if suffix in (".journal", ".log"):
        from rcn_search.study_report.optuna_export import journal

        contents = {target: journal(study)}
    elif suffix == ".html":
        from rcn_search.study_report.html import render_html  # Optuna's figures take a second to import

        contents = {target: render_html(study).encode()}
    elif suffix in (".csv", ".parquet"):
        to_bytes = csv_bytes if suffix == ".csv" else parquet_bytes
        epochs_uri = f"{target.removesuffix(suffix)}-epochs{suffix}"
        contents = {target: to_bytes(trial_table(study.trials)), epochs_uri: to_bytes(epoch_table(study.trials))}
    else:
        remedy = "the name must end in .journal, .csv, .parquet or .html"
        if suffix == ".db":
            remedy = "name it STUDY.journal, which optuna-dashboard opens like a database"
        raise RcnSearchError(f"{target}: cannot export to {suffix or 'a file without a suffix'}; {remedy}")
    for uri, content in contents.items():
        storage.write_bytes(uri, content)
    return list(contents)


def trial_table(trials: Sequence[Trial]) -> pa.Table:
    """Make a table with a row for each trial; parameters are columns, null where they were not drawn."""
    names = dict.fromkeys(name for trial in trials for name in trial.params)
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
    return pa.table(columns | {name: _column([trial.params.get(name) for trial in trials]) for name in names})


def epoch_table(trials: Iterable[Trial]) -> pa.Table:
    """Make a table with a row for each epoch of each trial."""
    results = ((trial, trial.epochs[number]) for trial in trials for number in sorted(trial.epochs))
    rows = [{"trial": trial.number, **epoch.model_dump()} for trial, epoch in results]
    real = ("loss", "val_error_pct", "best_error_pct", "train_s", "val_s", "other_s")
    fields = [("trial", pa.int64()), ("epoch", pa.int64()), *((name, pa.float64()) for name in real)]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def _column(values: Sequence[Scalar]) -> pa.Array:
    """Make a column of one type: numbers, or if some values are words (``paper`` or 16), all as words."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) == 1 or kinds == {int, float}:
        # Whole numbers beyond 64 bits, and those that a column of real numbers would round, stay exact as text.
        with suppress(OverflowError, pa.ArrowInvalid):
            return pa.array(values)
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def csv_bytes(table: pa.Table) -> bytes:
    """Format a table as CSV with a header; missing values are empty, and no text is a formula."""
    file = io.BytesIO()
    columns = [
        pa.array([csv_cell(value) for value in column.to_pylist()], pa.string())
        if pa.types.is_string(column.type)
        else column
        for column in table.columns
    ]
    table = pa.table(columns, [csv_cell(name) for name in table.column_names])
    pyarrow.csv.write_csv(table, file)
    return file.getvalue()


def parquet_bytes(table: pa.Table) -> bytes:
    """Format a table as a Parquet file."""
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file)
    return file.getvalue()
