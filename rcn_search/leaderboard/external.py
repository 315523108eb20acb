"""Add a prediction file to the leaderboard: a native one as it is, any other joined with our ground truth."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from rcn_search import __version__, storage
from rcn_search.data.dataset import open_dataset
from rcn_search.data.shards import read_manifest
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.predict_split import ground_truth_fields
from rcn_search.evaluation.predictions import Predictions, encode_predictions, read_predictions
from rcn_search.evaluation.protocol import EvaluationProtocol, Normalizer
from rcn_search.evaluation.score import Score, protocols_for, score
from rcn_search.leaderboard.entry_fields import entry_fields, shareable_uri
from rcn_search.leaderboard.external_join import join_ground_truth
from rcn_search.leaderboard.formats import ExternalFormat, read_external
from rcn_search.leaderboard.lookup import PREDICTIONS
from rcn_search.leaderboard.records import Entry, add_entry, explained_fields
from rcn_search.leaderboard.test_evaluations import record_test_evaluation


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known of the model that made the predictions: fields of an `Entry`."""

    hardware: str = "not stated"
    num_params: int | None = None
    multiply_adds: int | None = None
    latency_ms: float | None = None
    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class AddedPredictions:
    """Result of `add_predictions`: scores and entries, one for each protocol, and warnings of missing or extra images.

    ``num_test_evaluations`` includes this one; None for other splits than test splits.
    """

    scores: list[tuple[EvaluationProtocol, Score]]
    warnings: list[str]
    num_test_evaluations: int | None
    entry_uris: list[str]


def add_predictions(
    uri: str,
    data_uri: str,
    split_name: str,
    *,
    leaderboard: str,
    method: str,
    file_format: ExternalFormat | None = None,
    normalizers: Sequence[Normalizer] = (),
    pixel_offset: float = 0.0,
    model: ModelFacts = ModelFacts(),
) -> AddedPredictions:
    """Score a prediction file with the ground truth of a data set and add it to the leaderboard.

    An evaluation of a test split is counted before anything is scored. ``uri`` is a Parquet file of this project, whose
    own ground truth is ignored, or a file that `read_external` reads. ``normalizers`` are used in addition to those of
    `rcn2016` and `subpixel`. ``pixel_offset`` is added to each coordinate of an external file: here pixel i covers i to
    i + 1. `RcnSearchError` if the file cannot be read, or its images or keypoints are not those of the split.
    """
    manifest = read_manifest(data_uri)
    dataset, subset = manifest.dataset_and_subset(split_name)
    warnings: list[str] = []
    is_native = uri.endswith(".parquet")
    if is_native:
        predictions = _load_native(uri, data_uri, split_name)
    else:
        run_id = hashlib.sha256(storage.read_bytes(uri)).hexdigest()[:12]
        external = read_external(uri, file_format)
        joined = join_ground_truth(
            external, data_uri, split_name, method=method, run_id=run_id, pixel_offset=pixel_offset
        )
        predictions, warnings = joined.predictions, joined.coverage_warnings()
    num_test_evaluations = None
    if split_name in manifest.test_splits:
        num_test_evaluations = record_test_evaluation(
            leaderboard, dataset=dataset, subset=subset, method=method, run_id=predictions.meta["run_id"]
        )
    scores = [(protocol, score(predictions, protocol)) for protocol in protocols_for(predictions, normalizers)]
    origin: Literal["ours", "reproduced"] = "ours" if is_native else "reproduced"
    entry_uris = _add_entries(leaderboard, predictions, scores, method, origin, num_test_evaluations or 0, model)
    return AddedPredictions(
        scores=scores, warnings=warnings, num_test_evaluations=num_test_evaluations, entry_uris=entry_uris
    )


@explained_fields()
def _add_entries(
    leaderboard: str,
    predictions: Predictions,
    scores: Sequence[tuple[EvaluationProtocol, Score]],
    method: str,
    origin: Literal["ours", "reproduced"],
    num_test_evaluations: int,
    model: ModelFacts,
) -> list[str]:
    """Store the predictions and add an entry for each protocol; the URIs of the entries."""
    predictions_uri, sha256 = _store_predictions(leaderboard, predictions)
    entries = [
        Entry(
            method=method,
            origin=origin,
            **entry_fields(leaderboard, predictions, protocol, protocol_score),
            **vars(model),
            run_id=predictions.meta["run_id"],
            config=predictions.meta.get("config", {}),
            epochs=predictions.meta.get("epoch"),
            code_version=__version__,
            num_test_evaluations=num_test_evaluations,
            predictions_sha256=sha256,
            predictions_uri=predictions_uri,
        )
        for protocol, protocol_score in scores
    ]
    return [add_entry(leaderboard, entry) for entry in entries]


def _load_native(uri: str, data_uri: str, split_name: str) -> Predictions:
    """Read a prediction file of this project and replace its ground truth with that of the data set."""
    predictions, dataset = read_predictions(uri), open_dataset(data_uri)
    split = dataset.split(split_name)
    if not np.array_equal(predictions.image_id, split.image_id_n):
        raise RcnSearchError(
            f"{uri} has {len(predictions):,} images of split {predictions.meta['split']!r} of data "
            f"{predictions.meta['fingerprint']}; these are not the {split.num_rows:,} images of {split_name!r} of "
            f"{data_uri}"
        )
    if predictions.meta["keypoints"] != dataset.manifest.keypoints:
        raise RcnSearchError(
            f"{uri} has {predictions.meta['keypoints']!r} points; {data_uri} has {dataset.manifest.keypoints!r}"
        )
    name, subset = dataset.manifest.dataset_and_subset(split_name)
    meta = predictions.meta | {"fingerprint": dataset.manifest.fingerprint, "dataset": name, "subset": subset}
    return replace(predictions, **ground_truth_fields(split, bordered=dataset.manifest.bordered), meta=meta)


def _store_predictions(leaderboard: str, predictions: Predictions) -> tuple[str | None, str]:
    """Store the predictions, so that they can be scored again; their URI, if it may be shared, and their SHA-256."""
    content = encode_predictions(predictions)
    sha256 = hashlib.sha256(content).hexdigest()
    uri = storage.join(leaderboard, PREDICTIONS, f"{sha256}.parquet")
    with contextlib.suppress(storage.ObjectExistsError):
        storage.write_bytes(uri, content, if_absent=True)
    return shareable_uri(uri), sha256
