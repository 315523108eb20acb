"""Fit the radii of a checkpoint to predictions of images that it was not trained on, and keep them in the checkpoint.

Array names end in their axes: n images, k keypoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rcn_search import storage
from rcn_search.data.shards import Manifest
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.bootstrap import NUM_RESAMPLES, bootstrap_intervals
from rcn_search.evaluation.metrics import Array
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.score import Estimate
from rcn_search.inference.predictor import Predictor
from rcn_search.inference.weights import EXPORTED_SUFFIXES, find_weights, packaged_names
from rcn_search.training.checkpoint import CheckpointError, with_radius_table
from rcn_search.training.radius_table import RadiusTable, fit_radii

NUM_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Radii that were fitted.

    Attributes:
        checkpoint_uri: Checkpoint that keeps them.
        coverage: Share of the true points in radii that were fitted without the fold of their image: what new images
            can be expected to give, if they are like these.
        radius_pct: Mean radius, in percent of the side of the face box.
    """

    table: RadiusTable
    checkpoint_uri: str
    coverage: Estimate
    radius_pct: float


def check_calibration(model: str, predictor: Predictor, manifest: Manifest, split_name: str) -> str:
    """Check before anything is predicted that a model can be calibrated on a split; return its checkpoint.

    Args:
        model: What was loaded.
        predictor: The loaded network.
        manifest: Data set.
        split_name: Split whose images the radii are to be fitted to.

    Raises:
        RcnSearchError: The split is a test or the training split, or the model is packaged or an exported file.
    """
    info = predictor.info
    if split_name in manifest.test_splits:
        raise RcnSearchError(
            f"{split_name!r} is a test split; radii are fitted to validation images, so that coverage can be measured "
            "on the test split"
        )
    data = info.config.data
    knows_images = manifest.fingerprint == info.data_fingerprint and data.drawn is None
    if knows_images and not set(manifest.members_of(data.train_split)).isdisjoint(manifest.members_of(split_name)):
        raise RcnSearchError("errors on the images of the training are too small: calibrate on validation images")
    if model.endswith(EXPORTED_SUFFIXES):
        raise RcnSearchError(f"{model} is exported already: calibrate the checkpoint, then export it again")
    if model in packaged_names():
        raise RcnSearchError(f"the packaged weights {model!r} stay as they are: calibrate a copy of them")
    return find_weights(model)


def calibrate(predictor: Predictor, checkpoint_uri: str, predictions: Predictions) -> Calibration:
    """Fit radii to the predictions of a split, and keep them in the checkpoint in place of older ones of its kind.

    Args:
        predictor: Network that predicted, loaded from ``checkpoint_uri``.
        checkpoint_uri: Checkpoint to write; its weights stay as they are.
        predictions: Predictions of images that the network was not trained on.

    Raises:
        RcnSearchError: A point is labeled in too few images.
        CheckpointError: The checkpoint was replaced by another one since it was loaded.
    """
    distance_nk = distance_shares(predictions)
    names = predictions.schema.names
    points = fit_radii(distance_nk, predictions.confidence_nk, names)
    table = RadiusTable(
        made_with=predictor.made_with,
        data_fingerprint=predictions.meta["fingerprint"],
        split=predictions.meta["split"],
        num_images=len(predictions),
        points=points,
    )
    coverage = cross_validated_coverage(table, distance_nk, predictions)
    content = storage.read_bytes(checkpoint_uri)
    changed, before = with_radius_table(checkpoint_uri, content, table)
    if (before.config.run_id, before.epoch) != (predictor.info.config.run_id, predictor.info.epoch):
        raise CheckpointError(f"{checkpoint_uri} was replaced while its images were predicted: calibrate again")
    storage.write_bytes(checkpoint_uri, changed)
    radius_nk = np.where(np.isfinite(distance_nk), table.look_up(predictions.confidence_nk), np.nan)
    return Calibration(
        table=table, checkpoint_uri=checkpoint_uri, coverage=coverage, radius_pct=100.0 * float(np.nanmean(radius_nk))
    )


def distance_shares(predictions: Predictions) -> Array:
    """Compute the distances (n, k) of predicted from true points in shares of the side of the face box.

    They are NaN where a point is not labeled, and where the prediction or the face box is not finite. Points that are
    hidden but labeled count, because nobody who predicts knows which points are hidden.
    """
    true_nk2 = predictions.true_crop_nk2.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance_nk = np.linalg.norm(predictions.pred_crop_nk2 - true_nk2, axis=2) / predictions.face_box[:, 2:3]
    return np.where(np.isfinite(distance_nk), distance_nk, np.nan)


def cross_validated_coverage(table: RadiusTable, distance_nk: Array, predictions: Predictions) -> Estimate:
    """Measure coverage on each fold of the groups of images, of radii that are fitted to the other folds."""
    groups, index_n = np.unique(predictions.group, return_inverse=True)
    fold_of_group = np.random.default_rng(0).permutation(len(groups)) % NUM_FOLDS
    fold_n = fold_of_group[index_n]
    confidence_nk, names = predictions.confidence_nk, predictions.schema.names
    covered_nk = np.full(distance_nk.shape, np.nan)
    for fold in np.unique(fold_n):
        held_n = fold_n == fold
        points = fit_radii(distance_nk[~held_n], confidence_nk[~held_n], names)
        radius_nk = table.model_copy(update={"points": points}).look_up(confidence_nk[held_n])
        covered_nk[held_n] = np.where(np.isfinite(distance_nk[held_n]), distance_nk[held_n] <= radius_nk, np.nan)
    labeled_n = np.isfinite(covered_nk).any(axis=1)
    covered_pct_n = 100.0 * np.nanmean(covered_nk[labeled_n], axis=1)
    (interval,), _ = bootstrap_intervals(
        covered_pct_n[:, None], predictions.group[labeled_n], num_resamples=NUM_RESAMPLES
    )
    return Estimate(float(covered_pct_n.mean()), *(interval or ()))
