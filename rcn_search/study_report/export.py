"""A study taken away: an Optuna database, which optuna-dashboard opens, and tables as CSV or Parquet.

An export is a copy, written whole and then published under its name in one step. The study stays what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

import pyarrow as pa

from rcn_search import storage
from rcn_search.study.study import Study
from rcn_search.study_report.optuna_export import database
from rcn_search.study_report.tables import csv_bytes, epoch_table, parquet_bytes, trial_table


def export(study: Study, target: str) -> list[str]:
    """Write a study to a file; the URIs written.

    Args:
        study: See `open_view`.
        target: Path or URI. ``.db``: an Optuna database. ``.csv``, ``.parquet``: a row for each trial, and beside it,
            in ``NAME-epochs``, one for each epoch. ``.html``: see `report.render`.

    Raises:
        ValueError: Another suffix, or what writes it is not installed.
        OSError: It cannot be written.
    """
    suffix = PurePosixPath(target).suffix
    if suffix == ".html":
        from rcn_search.study_report.html import render_html  # Optuna's figures take a second to import

        storage.write_bytes(target, render_html(study).encode())
        return [target]
    if suffix == ".db":
        storage.write_bytes(target, database(study))
        return [target]
    if suffix not in _TABLE_WRITERS:
        raise ValueError(f"{target}: the name must end in .db, .csv, .parquet or .html")
    epochs = f"{target.removesuffix(suffix)}-epochs{suffix}"
    for uri, table in ((epochs, epoch_table(study.trials)), (target, trial_table(study.trials))):
        storage.write_bytes(uri, _TABLE_WRITERS[suffix](table))
    return [target, epochs]


_TABLE_WRITERS: dict[str, Callable[[pa.Table], bytes]] = {".csv": csv_bytes, ".parquet": parquet_bytes}
