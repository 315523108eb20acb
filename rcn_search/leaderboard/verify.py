"""An entry and the checkpoint it claims to come from: evaluated once more, and held against each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rcn_search.data.shards import read_manifest
from rcn_search.evaluation.score import Score, score
from rcn_search.inference.config import InferenceConfig
from rcn_search.leaderboard.records import Entry
from rcn_search.leaderboard.submit import evaluate_and_record
from rcn_search.leaderboard.table import load_errors

TOLERANCE_PCT = 0.005
"""Differences below what tables print: another machine adds in another order."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What an evaluation of today found.

    Attributes:
        error_pct: Mean error now.
        test_looks: Looks at the test split so far, this one included; None where it is no test.
        worst_image: The image whose error changed most, and by how much; absent where no errors are kept.
        problems: What is not as the entry says; nothing where it is verified.
    """

    error_pct: float
    num_test_evaluations: int | None
    worst_image: tuple[str, float] | None
    problems: list[str]


def verify(
    leaderboard: str,
    entry: Entry,
    checkpoint_uri: str,
    data_uri: str,
    *,
    predictions_uri: str,
    tolerance_pct: float = TOLERANCE_PCT,
    inference: InferenceConfig | None = None,
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> Verification:
    """Evaluate a checkpoint as an entry was made. Of a test split this is a look, and counted as one.

    Args:
        leaderboard: URI of the leaderboard.
        entry: To verify.
        checkpoint_uri: The weights it is said to come from.
        data_uri: The data set.
        predictions_uri: Where today's prediction file goes.
        tolerance_pct: Largest difference of the mean error that is none.
        inference: By default as the entry was made; entries of schema version 1 do not say how.
        on_images: Called with (images done, images in all).

    Raises:
        ValueError: The data set has no such subset; or see `evaluate_and_record`.
    """
    split = _split_of(entry, data_uri)
    submission = evaluate_and_record(
        checkpoint_uri,
        data_uri,
        split,
        leaderboard=leaderboard,
        predictions_uri=predictions_uri,
        submit=False,
        method=entry.method,
        inference=inference or InferenceConfig.from_record(entry.made_with),
        on_images=on_images,
    )
    evaluation = submission.evaluation
    now = score(evaluation.predictions, entry.protocol)
    worst = _worst_image(leaderboard, entry, now, evaluation.predictions.image_id)
    told = [
        ("run id", entry.run_id, evaluation.info.config.run_id),
        ("data fingerprint", entry.fingerprint, evaluation.predictions.meta["fingerprint"]),
        ("images", entry.num_images, now.num_images),
        ("parameters", entry.num_params, evaluation.num_params),
    ]
    problems = [f"{what}: {said} on the leaderboard, {is_now} now" for what, said, is_now in told if said != is_now]
    if abs(now.error_pct - entry.error_pct) > tolerance_pct:
        problems.append(f"error: {entry.error_pct:.4f} % on the leaderboard, {now.error_pct:.4f} % now")
    return Verification(
        error_pct=now.error_pct,
        num_test_evaluations=submission.num_test_evaluations,
        worst_image=worst,
        problems=problems,
    )


def _split_of(entry: Entry, data_uri: str) -> str:
    manifest = read_manifest(data_uri)
    place = (entry.protocol.dataset, entry.protocol.subset)
    for split in manifest.split_names:
        if manifest.dataset_and_subset(split) == place:
            return split
    there = ", ".join("/".join(manifest.dataset_and_subset(split)) for split in manifest.split_names)
    raise ValueError(f"{data_uri} has no images of {'/'.join(place)}; it has {there}")


def _worst_image(leaderboard: str, entry: Entry, now: Score, image_id_n: np.ndarray) -> tuple[str, float] | None:
    if entry.errors_sha256 is None:
        return None
    before_n = load_errors(leaderboard, entry)
    if len(before_n) != len(now.errors.error_pct_n):
        return None
    change_n = np.nan_to_num(np.abs(now.errors.error_pct_n - before_n))
    worst = int(change_n.argmax())
    return str(image_id_n[worst]), float(change_n[worst])
