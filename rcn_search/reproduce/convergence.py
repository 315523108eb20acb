"""How soon a network's test error is below the paper's mark: every epoch of its rows scored."""

from __future__ import annotations

import numpy as np

from rcn_search import storage
from rcn_search.evaluation.protocol import rcn2016
from rcn_search.reproduce.paired_comparison import measure
from rcn_search.reproduce.paper_tables import GOAL_PCT, PAPER_CONVERGENCE
from rcn_search.reproduce.reproduction import Rerun
from rcn_search.reproduce.test_scores import Candidate, Look, Target
from rcn_search.reproduce.text_table import Sheet
from rcn_search.study.trial import Trial
from rcn_search.training.exit_status import epoch_name

COLUMNS = ("method", "images", "paper", "ours", "training time", "seeds", "notes")


def convergence_sheet(rerun: Rerun, look: Look) -> Sheet:
    """First epoch below `GOAL_PCT` and the time of training until then. Takes the looks that were not taken yet.

    Raises:
        ValueError: See `Scores.take`.
    """
    lines = [_line(rerun, look, row, target) for target in rerun.targets for row in rerun.study.config.runs]
    num_epochs = rerun.study.config.budget.epochs
    return Sheet(
        title=f"Convergence: epochs to an error below {GOAL_PCT:g} %, of {num_epochs} in one cycle",
        columns=COLUMNS,
        rows=tuple(lines),
        remarks=("the paper's times are of a Tesla K20; ours are training steps alone", *rerun.remarks()),
        wide=("method", "images", "notes"),
    )


def _line(rerun: Rerun, look: Look, row: str, target: Target) -> tuple[str, ...]:
    trials = rerun.complete(row)
    errors_pct = [
        _error_pct(rerun, look, trials, epoch, target) for epoch in range(1, rerun.study.config.budget.epochs + 1)
    ]
    first = next(
        (epoch for epoch, error in enumerate(errors_pct, start=1) if error is not None and error < GOAL_PCT), 0
    )
    papers = PAPER_CONVERGENCE.get(row)
    ours = time = ""
    if first:
        train_s = np.mean([sum(trial.epochs[epoch].train_s for epoch in range(1, first + 1)) for trial in trials])
        ours, time = f"{first} epochs", f"{train_s:.0f} s"
    elif trials:
        ours = "not reached"
    wanted = rerun.study.config.seeds_per_run.get(row, 1)
    known = " ".join(f"{error:.2f}" for error in errors_pct if error is not None)
    return (
        row,
        "/".join(target.place),
        f"{papers.epochs} epochs, {papers.minutes} min" if papers else "",
        ours,
        time,
        str(len(trials)) if len(trials) == wanted else f"{len(trials)} of {wanted}",
        f"error by epoch {known}" if known else "not finished" if len(trials) < wanted else "not scored yet",
    )


def _error_pct(rerun: Rerun, look: Look, trials: list[Trial], epoch: int, target: Target) -> float | None:
    """Mean over the seeds."""
    found = []
    for trial in trials:
        method = f"{trial.record.params['row']}, epoch {epoch} of {rerun.study.config.budget.epochs}"
        checkpoint = storage.join(trial.folder, epoch_name(epoch))
        found.append(look(Candidate(f"{trial.number:06d}-epoch-{epoch:04d}", method, checkpoint), target))
    predictions = [each for each in found if each is not None]
    if not predictions or len(predictions) < len(found):
        return None
    return measure(predictions, rcn2016(*target.place, rerun.manifests[0].keypoints)).error_pct
