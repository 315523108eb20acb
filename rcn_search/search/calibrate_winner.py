"""Calibrate the winner of a search: fit the radii of its checkpoints to the validation images."""

from __future__ import annotations

from rich.console import Console

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.study.study import Study
from rcn_search.study.winner import Winner
from rcn_search.training.exit_status import BEST_NAME


def calibrate_winner(study: Study, winner: Winner | None, console: Console) -> None:
    """Keep radii in the checkpoints of the winner, or of the best trial, unless they have them already.

    Without replication the validation images chose trial and epoch, so that their errors, and the radii, are a little
    too small. A search whose winner cannot be calibrated has not failed.
    """
    if study.config.runs or study.best_trial is None or study.best_trial.config.model.name == "denoiser":
        return
    runs = [run.checkpoint for run in winner.runs] if winner else [storage.join(study.best_trial.folder, BEST_NAME)]
    for checkpoint in runs:
        calibrate_checkpoint(study, checkpoint, console)


def calibrate_checkpoint(study: Study, checkpoint: str, console: Console) -> None:
    """Keep radii in a checkpoint of a study unless it has them; where it cannot have any, print the reason."""
    try:
        _calibrate(study, checkpoint, console)
    except (RcnSearchError, OSError) as error:
        console.print(f"{checkpoint} was not calibrated, so its points have no radius: {error}", highlight=False)


def _calibrate(study: Study, checkpoint: str, console: Console) -> None:
    from rcn_search.data.dataset import open_dataset  # torch is not needed before
    from rcn_search.evaluation.calibrate import calibrate, check_calibration
    from rcn_search.evaluation.predict_split import predict_split
    from rcn_search.inference.predictor import load

    predictor = load(checkpoint)
    if predictor.radius_table is not None:
        return
    data = study.config.base_config.data
    dataset = open_dataset(data.uri)
    check_calibration(checkpoint, predictor, dataset.manifest, data.val_split)
    predictions = predict_split(predictor, dataset, data.val_split, method=study.config.study.name)
    found = calibrate(predictor, checkpoint, predictions)
    console.print(
        f"calibrated {checkpoint}: the radius of {found.table.coverage:.0%} is {found.radius_pct:.1f} % of the side of "
        f"the face box on average, and holds {found.coverage.pct:.1f} % of the points of images that it was not fitted "
        "to",
        highlight=False,
    )
