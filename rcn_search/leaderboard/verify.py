"""Evaluate a checkpoint again and compare the result with the leaderboard entry that it is said to belong to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import Dataset
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.score import Score, score
from rcn_search.inference.predictor import Predictor
from rcn_search.leaderboard.records import Entry
from rcn_search.leaderboard.submit import evaluate_and_record
from rcn_search.leaderboard.table import load_errors

TOLERANCE_PCT = 0.005
"""Half of the last digit that tables print. Another processor adds in another order, so errors differ a little."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Result of a verification: mean error now, and differences from the entry (``problems``), none if it is verified.

    ``worst_image`` is the image whose error changed most, with the change in percentage points; None without per-image
    errors of the entry. ``num_test_evaluations`` includes this one; None for other splits than test splits.
    """

    error_pct: float
    num_test_evaluations: int | None
    worst_image: tuple[str, float] | None
    problems: list[str]


def verify(
    leaderboard: str,
    entry: Entry,
    predictor: Predictor,
    dataset: Dataset,
    *,
    predictions_uri: str | None = None,
    tolerance_pct: float = TOLERANCE_PCT,
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> Verification:
    """Evaluate a checkpoint as an entry was made. An evaluation of a test split is counted.

    ``predictor`` has the inference options of the entry (`InferenceConfig.from_record` of its ``made_with``; entries of
    schema version 1 do not record them). ``on_images`` is called with (images done, images in all).
    `RcnSearchError` if the data set lacks the subset of the entry.
    """
    submission = evaluate_and_record(
        predictor,
        dataset,
        _split_of(entry, dataset),
        leaderboard=leaderboard,
        predictions_uri=predictions_uri,
        method=entry.method,
        on_images=on_images,
    )
    evaluation = submission.evaluation
    current = score(evaluation.predictions, entry.protocol)
    compared = [
        ("run id", _run_id(entry), predictor.info.config.run_id),
        ("data fingerprint", entry.fingerprint, evaluation.predictions.meta["fingerprint"]),
        ("images", entry.num_images, current.num_images),
        ("parameters", entry.num_params, predictor.num_params),
    ]
    problems = [f"{name}: {recorded} in the entry, {now} now" for name, recorded, now in compared if recorded != now]
    if abs(current.error_pct - entry.error_pct) > tolerance_pct:
        problems.append(f"error: {entry.error_pct:.4f} % in the entry, {current.error_pct:.4f} % now")
    return Verification(
        error_pct=current.error_pct,
        num_test_evaluations=submission.num_test_evaluations,
        worst_image=_worst_image(leaderboard, entry, current, evaluation.predictions.image_id),
        problems=problems,
    )


def _run_id(entry: Entry) -> str:
    """Compute the run id from the configuration: entries of schema versions 1 and 2 hold the hash of old keys."""
    try:
        return TrainConfig.model_validate(entry.config).run_id
    except ValueError:  # external predictions have no configuration
        return entry.run_id


def _split_of(entry: Entry, dataset: Dataset) -> str:
    manifest = dataset.manifest
    wanted = (entry.protocol.dataset, entry.protocol.subset)
    subsets = {split: manifest.dataset_and_subset(split) for split in manifest.split_names}
    for split, subset in subsets.items():
        if subset == wanted:
            return split
    available = ", ".join(map("/".join, subsets.values()))
    raise RcnSearchError(f"{dataset.uri} has no images of {'/'.join(wanted)}; it has {available}")


def _worst_image(
    leaderboard: str, entry: Entry, current: Score, image_id_n: NDArray[np.str_]
) -> tuple[str, float] | None:
    if entry.errors_sha256 is None:
        return None
    recorded_n = load_errors(leaderboard, entry)
    if len(recorded_n) != len(current.errors.error_pct_n):
        return None
    change_n = np.nan_to_num(np.abs(current.errors.error_pct_n - recorded_n))
    worst = int(change_n.argmax())
    return str(image_id_n[worst]), float(change_n[worst])
