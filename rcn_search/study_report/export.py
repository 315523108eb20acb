"""Export of a study to a file: an Optuna journal, tables, or a page of figures, by the suffix of its name.

An export is a copy, written whole and then published under its name in one step. It does not change the study.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.study.study import Study
from rcn_search.study_report.tables import csv_bytes, epoch_table, parquet_bytes, trial_table

JOURNAL_SUFFIXES = (".journal", ".log")


def export(study: Study, target: str) -> list[str]:
    """Write a study to a file.

    Args:
        study: Snapshot of the study; see `open_study`.
        target: Path or URI of the file. ``.journal`` or ``.log``: journal of Optuna, for optuna-dashboard. ``.csv``,
            ``.parquet``: a table of trials, and beside it, in ``NAME-epochs``, one of epochs. ``.html``: a page of
            figures.

    Returns:
        The URIs that were written.

    Raises:
        RcnSearchError: The suffix is unknown, or a package that writes the format is not installed.
        OSError: The file cannot be written.
    """
    suffix = PurePosixPath(target).suffix
    contents: dict[str, bytes]
    if suffix in JOURNAL_SUFFIXES:
        from rcn_search.study_report.optuna_export import journal

        contents = {target: journal(study)}
    elif suffix == ".html":
        from rcn_search.study_report.html import render_html  # Optuna's figures take a second to import

        contents = {target: render_html(study).encode()}
    elif suffix in (".csv", ".parquet"):
        to_bytes = csv_bytes if suffix == ".csv" else parquet_bytes
        contents = {
            target: to_bytes(trial_table(study.trials)),
            f"{target.removesuffix(suffix)}-epochs{suffix}": to_bytes(epoch_table(study.trials)),
        }
    else:
        remedy = (
            "name it STUDY.journal, which optuna-dashboard opens like a database"
            if suffix == ".db"
            else ("the name must end in .journal, .csv, .parquet or .html")
        )
        raise RcnSearchError(f"{target}: cannot export to {suffix or 'a file without a suffix'}; {remedy}")
    for uri, content in contents.items():
        storage.write_bytes(uri, content)
    return list(contents)
