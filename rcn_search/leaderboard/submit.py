"""Evaluate a checkpoint, count the evaluation if the split is a test split, and submit the scores."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from rcn_search import __version__
from rcn_search.data.dataset import Dataset
from rcn_search.evaluation.evaluate import Evaluation, evaluate, predictor_method
from rcn_search.evaluation.predict_split import check_keypoints
from rcn_search.inference.predictor import Predictor
from rcn_search.leaderboard.entry_fields import entry_fields, shareable_uri
from rcn_search.leaderboard.location import require_leaderboard
from rcn_search.leaderboard.records import Entry, add_entry, explained_fields
from rcn_search.leaderboard.test_evaluations import record_test_evaluation


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Result of `evaluate_and_record`: scores and predictions, and entries added, one for each protocol.

    ``num_test_evaluations`` includes this one; None for other splits than test splits.
    """

    evaluation: Evaluation
    num_test_evaluations: int | None
    entry_uris: list[str]


def evaluate_and_record(
    predictor: Predictor,
    dataset: Dataset,
    split_name: str,
    *,
    leaderboard: str | None = None,
    predictions_uri: str | None = None,
    submit: bool = False,
    method: str | None = None,
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> Submission:
    """Evaluate a predictor on a split; an evaluation of a test split is counted first.

    Args:
        predictor: Trained network.
        dataset: Data set.
        split_name: Split of the data set.
        leaderboard: URI of the leaderboard; needed for a test split and with ``submit``.
        predictions_uri: Prediction file to write; None: no file is written.
        submit: Add the scores to the leaderboard.
        method: Name on the leaderboard; by default made from the configuration.
        on_images: Called with (images done, images in all).

    Raises:
        DatasetError: There is no such split, or one of its shards is damaged.
        RcnSearchError: A leaderboard is needed and is None, or the data set has other keypoints than the network.

    >>> import rcn_search
    >>> submission = rcn_search.evaluate(rcn_search.load(checkpoint), rcn_search.open_dataset(data), "val")
    >>> [protocol.name for protocol, score in submission.evaluation.scores]
    ['rcn2016', 'subpixel']
    """
    info, manifest = predictor.info, dataset.manifest
    method = method or predictor_method(predictor)
    num_test_evaluations = None
    if submit:
        leaderboard = require_leaderboard(leaderboard)
    if split_name in manifest.test_splits:
        check_keypoints(info, manifest, dataset.uri)
        dataset_name, subset = manifest.dataset_and_subset(split_name)
        num_test_evaluations = record_test_evaluation(
            require_leaderboard(leaderboard),
            dataset=dataset_name,
            subset=subset,
            method=method,
            run_id=info.config.run_id,
        )
    evaluation = evaluate(
        predictor, dataset, split_name, predictions_uri=predictions_uri, method=method, on_images=on_images
    )
    entry_uris: list[str] = []
    if submit and leaderboard:
        entries = _entries(leaderboard, predictor, evaluation, num_test_evaluations or 0)
        entry_uris = [add_entry(leaderboard, entry) for entry in entries]
    return Submission(evaluation=evaluation, num_test_evaluations=num_test_evaluations, entry_uris=entry_uris)


@explained_fields()
def _entries(leaderboard: str, predictor: Predictor, evaluation: Evaluation, num_test_evaluations: int) -> list[Entry]:
    info, predictions_uri = predictor.info, evaluation.predictions_uri
    return [
        Entry(
            method=evaluation.predictions.meta["method"],
            **entry_fields(leaderboard, evaluation.predictions, protocol, score),
            run_id=info.config.run_id,
            config=info.config.model_dump(mode="json"),
            num_params=predictor.num_params,
            multiply_adds=predictor.multiply_adds,
            epochs=info.epoch,
            train_s=info.train_s,
            hardware=describe_hardware(predictor.inference.device),
            code_version=__version__,
            num_test_evaluations=num_test_evaluations,
            predictions_sha256=evaluation.predictions_sha256,
            predictions_uri=shareable_uri(predictions_uri) if predictions_uri else None,
            latency_ms=evaluation.latency_ms,
        )
        for protocol, score in evaluation.scores
    ]


def describe_hardware(device: str) -> str:
    """Return the name of the processor or GPU, with the number of threads."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if "model name" in line), name)
    return f"{name}, {torch.get_num_threads()} threads"
