"""A checkpoint onto the board: the look at the test split is counted first, then taken, then its scores are entered."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from rcn_search import __version__
from rcn_search.data.shards import read_manifest
from rcn_search.evaluation.evaluate import Evaluation, describe, evaluate
from rcn_search.evaluation.predict import check_keypoints
from rcn_search.leaderboard.entry_fields import measured_fields, place_to_keep
from rcn_search.leaderboard.records import Entry, add_entry, record_test_look
from rcn_search.models.decode import Decoder
from rcn_search.training.checkpoint import read_checkpoint
from rcn_search.training.compute_probe import usable_device


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What came of it.

    Attributes:
        evaluation: Scores and predictions.
        test_looks: Looks at this test split so far, this one included; None for a split that is no test.
        entry_uris: Entries added to the board, one for each protocol.
    """

    evaluation: Evaluation
    test_looks: int | None
    entry_uris: list[str]


def evaluate_and_record(
    checkpoint_uri: str,
    data_uri: str,
    split_name: str,
    *,
    board: Callable[[], str],
    predictions_uri: str,
    enter: bool,
    method: str | None = None,
    decode: Decoder | None = None,
    mirror: bool = False,
    multi_view: bool = False,
    denoiser_uri: str | None = None,
    device: str = "cpu",
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> Submission:
    """Evaluate; count the look where the split is a test; enter the scores where ``enter``.

    Args:
        checkpoint_uri: The weights.
        data_uri: The data set.
        split_name: Which images.
        board: Gives the URI of the board; only called when something is to be written there.
        predictions_uri: Where the prediction file goes.
        enter: Add entries to the board.
        method: Name on the board; by default made from the configuration.
        decode: How a map becomes a cell; by default as the loss meant it.
        mirror: Also look at the mirror image and average.
        multi_view: Also look through windows turned and scaled a little, and average.
        denoiser_uri: Checkpoint of a denoiser, for the joint model.
        device: Where to run.
        on_images: Called with (images done, images in all).

    Raises:
        ValueError: See `evaluate`.
    """
    manifest = read_manifest(data_uri)
    device = str(usable_device(device))  # a slip of the pen is no look
    test_looks = None
    if split_name in manifest.test_splits:
        info = read_checkpoint(checkpoint_uri).info
        check_keypoints(info, manifest, data_uri)
        dataset, subset = manifest.dataset_and_subset(split_name)
        test_looks = record_test_look(
            board(),
            dataset=dataset,
            subset=subset,
            method=method
            or describe(info, decode, mirror=mirror, multi_view=multi_view, joint=denoiser_uri is not None),
            run_id=info.config.run_id,
        )
    evaluation = evaluate(
        checkpoint_uri,
        data_uri,
        split_name,
        predictions_uri=predictions_uri,
        method=method,
        decode=decode,
        mirror=mirror,
        multi_view=multi_view,
        denoiser_uri=denoiser_uri,
        device=device,
        on_images=on_images,
    )
    entry_uris: list[str] = []
    if enter:
        entries = _entries(board(), evaluation, test_looks or 0, device)
        entry_uris = [add_entry(board(), entry) for entry in entries]
    return Submission(evaluation=evaluation, test_looks=test_looks, entry_uris=entry_uris)


def _entries(board: str, evaluation: Evaluation, test_looks: int, device: str) -> list[Entry]:
    info = evaluation.info
    return [
        Entry(
            method=evaluation.predictions.meta["method"],
            **measured_fields(board, evaluation.predictions, protocol, score),
            run_id=info.config.run_id,
            config=info.config.model_dump(mode="json"),
            num_params=evaluation.num_params,
            multiply_adds=evaluation.multiply_adds,
            epochs=info.epoch,
            train_s=info.train_s,
            hardware=describe_hardware(device),
            code_version=__version__,
            test_looks=test_looks,
            predictions_sha256=evaluation.predictions_sha256,
            predictions_uri=place_to_keep(evaluation.predictions_uri),
            latency_ms=evaluation.latency_ms,
        )
        for protocol, score in evaluation.scores
    ]


def describe_hardware(device: str) -> str:
    """The processor a result was computed on, in words."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name}, {torch.get_num_threads()} threads"
