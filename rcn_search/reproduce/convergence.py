"""Epochs and time until the test error falls below the paper's threshold: every epoch of a run is scored."""

from __future__ import annotations

import numpy as np

from rcn_search import storage
from rcn_search.evaluation.protocol import rcn2016
from rcn_search.reproduce.paired_comparison import row_errors
from rcn_search.reproduce.paper_tables import PAPER_CONVERGENCE, TARGET_ERROR_PCT
from rcn_search.reproduce.reproduction import Reproduction
from rcn_search.reproduce.test_scores import Candidate, PredictionSource, Target
from rcn_search.reproduce.text_table import TextTable
from rcn_search.study.space.study_config import RUN
from rcn_search.study.trial import Trial
from rcn_search.training.exit_status import epoch_checkpoint_name

COLUMNS = ("method", "images", "paper", "ours", "training time", "seeds", "notes")


def convergence_table(reproduction: Reproduction, predictions_of: PredictionSource) -> TextTable:
    """Make a table of the first epoch below `TARGET_ERROR_PCT` and of the training time until then."""
    config = reproduction.study.config
    return TextTable(
        title=f"Convergence: epochs to an error below {TARGET_ERROR_PCT:g} %, of {config.budget.epochs} in one cycle",
        columns=COLUMNS,
        rows=tuple(
            _table_row(reproduction, predictions_of, row, target)
            for target in reproduction.targets
            for row in config.runs
        ),
        remarks=("the paper's times are of a Tesla K20; ours are training steps alone", *reproduction.data_remarks()),
        text_columns=("method", "images", "notes"),
    )


def _table_row(
    reproduction: Reproduction, predictions_of: PredictionSource, row: str, target: Target
) -> tuple[str, ...]:
    trials, config = reproduction.complete_trials(row), reproduction.study.config
    errors_pct = [
        _epoch_error_pct(reproduction, predictions_of, trials, epoch, target)
        for epoch in range(1, config.budget.epochs + 1)
    ]
    first = next(
        (epoch for epoch, error in enumerate(errors_pct, start=1) if error is not None and error < TARGET_ERROR_PCT), 0
    )
    paper = PAPER_CONVERGENCE.get(row)
    ours = time = ""
    if first:
        train_s = np.mean([sum(trial.epochs[epoch].train_s for epoch in range(1, first + 1)) for trial in trials])
        ours, time = f"{first} epochs", f"{train_s:.0f} s"
    elif trials:
        ours = "not reached"
    num_seeds = config.seeds_per_run.get(row, 1)
    known = " ".join(f"{error:.2f}" for error in errors_pct if error is not None)
    return (
        row,
        str(target.subset),
        f"{paper.epochs} epochs, {paper.minutes} min" if paper else "",
        ours,
        time,
        str(len(trials)) if len(trials) == num_seeds else f"{len(trials)} of {num_seeds}",
        f"error by epoch {known}" if known else "not finished" if len(trials) < num_seeds else "not scored yet",
    )


def _epoch_error_pct(
    reproduction: Reproduction, predictions_of: PredictionSource, trials: list[Trial], epoch: int, target: Target
) -> float | None:
    """Return the mean error of an epoch over the seeds; None if a seed is not scored."""
    predictions = []
    for trial in trials:
        method = f"{trial.params[RUN]}, epoch {epoch} of {reproduction.study.config.budget.epochs}"
        checkpoint = storage.join(trial.folder, epoch_checkpoint_name(epoch))
        predicted = predictions_of(Candidate(f"{trial.number:06d}-epoch-{epoch:04d}", method, checkpoint), target)
        if predicted is not None:
            predictions.append(predicted)
    if not predictions or len(predictions) < len(trials):
        return None
    return row_errors(predictions, rcn2016(*target.subset, reproduction.manifests[0].keypoints)).error_pct
