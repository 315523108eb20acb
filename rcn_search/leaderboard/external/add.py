"""Add a prediction file to the leaderboard: a native one as it is, any other joined with our ground truth.

In two steps, with time to look at a preview in between: `check_predictions` reads and compares, and neither counts nor
writes anything; `add_predictions` counts the test evaluation, scores and adds.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from rcn_search import __version__, storage
from rcn_search.data.dataset import Dataset, open_dataset
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.bounded_parquet import MAX_FILE_BYTES
from rcn_search.evaluation.predict_split import ground_truth_fields
from rcn_search.evaluation.predictions import Predictions, decode_predictions, encode_predictions
from rcn_search.evaluation.protocol import EvaluationProtocol, parse_normalizer
from rcn_search.evaluation.score import Score, protocols_for, score
from rcn_search.leaderboard.entry_fields import entry_fields, made_with, shareable_uri
from rcn_search.leaderboard.external.join import join_ground_truth
from rcn_search.leaderboard.external.preview import Preview, preview
from rcn_search.leaderboard.external.reading import ExternalFormat, parse_external
from rcn_search.leaderboard.lookup import PREDICTIONS
from rcn_search.leaderboard.records import Entry, add_entry, explained_fields
from rcn_search.leaderboard.test_evaluations import record_test_evaluation

_PARQUET = b"PAR1"


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known of the model that made the predictions: fields of an `Entry`."""

    hardware: str = "not stated"
    num_params: int | None = None
    multiply_adds: int | None = None
    latency_ms: float | None = None
    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class CheckedPredictions:
    """Predictions with the ground truth of a split, and what a look at them showed.

    Attributes:
        num_joined: Number of images of the split for which the file has a prediction.
        notes: What was not read, and which images and predictions did not join: at most ten names of each.
        facts: Fields of each entry that do not depend on the score.
        is_test_split: Whether evaluations of the split are counted.
    """

    predictions: Predictions
    protocols: list[EvaluationProtocol]
    num_joined: int
    notes: list[str]
    preview: Preview
    facts: dict[str, Any]
    is_test_split: bool

    @property
    def implausible(self) -> str:
        """Why the predictions are refused, and how to add them nevertheless; empty if they are plausible."""
        problem = self.preview.implausible
        hint = f": {self.preview.hint}" if self.preview.hint else ""
        return f"{problem}{hint}. If the predictions are as bad as that, add them with --force" if problem else ""


@dataclass(frozen=True, kw_only=True)
class AddedPredictions:
    """Result of `add_predictions`: scores and entries, one for each protocol.

    ``num_test_evaluations`` includes this one; None for other splits than test splits.
    """

    scores: list[tuple[EvaluationProtocol, Score]]
    num_test_evaluations: int | None
    entry_uris: list[str]


def check_predictions(
    uri: str,
    data_uri: str,
    split_name: str,
    *,
    method: str,
    file_format: ExternalFormat | None = None,
    normalizers: Sequence[str] = (),
    pixel_offset: float = 0.0,
    model: ModelFacts = ModelFacts(),
) -> CheckedPredictions:
    """Read a prediction file, join it with the ground truth of a data set, and compare them.

    Everything that could refuse the predictions does so here, before anything is counted. ``uri`` is a Parquet file of
    this project, whose own ground truth is ignored, or a file that `parse_external` reads. ``normalizers``, which may
    be abbreviated, are used in addition to those of `rcn2016` and `subpixel`. ``pixel_offset`` is added to each
    coordinate of an external file: here pixel i covers i to i + 1.

    Raises:
        RcnSearchError: The file cannot be read, its images or keypoints are not those of the split, no image can be
            scored, or a field of the entry, such as ``method``, is not allowed.
    """
    if not math.isfinite(pixel_offset):
        raise RcnSearchError(f"pixel offset {pixel_offset}; give a finite number")
    dataset = open_dataset(data_uri)
    content = storage.read_bytes(uri, max_bytes=MAX_FILE_BYTES)
    is_native = content.startswith(_PARQUET)
    if is_native:
        predictions, notes = _with_ground_truth(decode_predictions(uri, content), uri, dataset, split_name), []
        num_joined = len(predictions)
    else:
        external = parse_external(content, uri, dataset.manifest.keypoint_schema, file_format)
        run_id = hashlib.sha256(content).hexdigest()[:12]
        joined = join_ground_truth(
            external.faces, dataset, split_name, method=method, run_id=run_id, pixel_offset=pixel_offset
        )
        predictions, notes = joined.predictions, [*external.notes, *joined.coverage_notes()]
        num_joined = len(predictions) - len(joined.missing)
    schema = dataset.manifest.keypoint_schema
    protocols = protocols_for(predictions, [parse_normalizer(name, schema.normalizers) for name in normalizers])
    facts = _entry_facts(predictions, method, "ours" if is_native else "reproduced", model)
    _check_facts(facts, protocols)
    return CheckedPredictions(
        predictions=predictions,
        protocols=protocols,
        num_joined=num_joined,
        notes=notes,
        preview=preview(predictions, protocols),
        facts=facts,
        is_test_split=split_name in dataset.manifest.test_splits,
    )


def add_predictions(checked: CheckedPredictions, leaderboard: str, *, force: bool = False) -> AddedPredictions:
    """Score checked predictions and add them; an evaluation of a test split is counted before anything is scored.

    Raises:
        RcnSearchError: The predictions are implausible, and ``force`` is not set.
    """
    if checked.implausible and not force:
        raise RcnSearchError(checked.implausible)
    predictions, num_test_evaluations = checked.predictions, None
    if checked.is_test_split:
        num_test_evaluations = record_test_evaluation(
            leaderboard,
            dataset=predictions.meta["dataset"],
            subset=predictions.meta["subset"],
            method=checked.facts["method"],
            run_id=predictions.meta["run_id"],
        )
    scores = [(protocol, score(predictions, protocol)) for protocol in checked.protocols]
    predictions_uri, sha256 = _store_predictions(leaderboard, predictions)
    entries = [
        Entry(
            **checked.facts | entry_fields(leaderboard, predictions, protocol, protocol_score),
            num_test_evaluations=num_test_evaluations or 0,
            predictions_sha256=sha256,
            predictions_uri=predictions_uri,
        )
        for protocol, protocol_score in scores
    ]
    return AddedPredictions(
        scores=scores,
        num_test_evaluations=num_test_evaluations,
        entry_uris=[add_entry(leaderboard, entry) for entry in entries],
    )


def _entry_facts(
    predictions: Predictions, method: str, origin: Literal["ours", "reproduced"], model: ModelFacts
) -> dict[str, Any]:
    return {
        "method": method,
        "origin": origin,
        "fingerprint": predictions.meta["fingerprint"],
        "made_with": made_with(predictions),
        "run_id": predictions.meta["run_id"],
        "config": predictions.meta.get("config", {}),
        "epochs": predictions.meta.get("epoch"),
        "code_version": __version__,
        **vars(model),
    }


@explained_fields()
def _check_facts(facts: dict[str, Any], protocols: Sequence[EvaluationProtocol]) -> None:
    """Refuse what an entry would refuse, before its evaluation is counted."""
    score_fields = {"error_pct": 0, "num_images": 1, "num_test_evaluations": 0, "predictions_sha256": "0" * 64}
    for protocol in protocols:
        Entry(**facts, **score_fields, protocol=protocol)


def _with_ground_truth(predictions: Predictions, uri: str, dataset: Dataset, split_name: str) -> Predictions:
    """Replace the ground truth of a prediction file of this project with that of the data set."""
    split, manifest = dataset.split(split_name), dataset.manifest
    if not np.array_equal(predictions.image_id, split.image_id_n):
        raise RcnSearchError(
            f"{uri} has {len(predictions):,} images of split {predictions.meta['split']!r} of data "
            f"{predictions.meta['fingerprint']}; these are not the {split.num_rows:,} images of {split_name!r} of "
            f"{dataset.uri}"
        )
    if (predictions.schema.name, predictions.schema.names) != (manifest.keypoints, manifest.keypoint_schema.names):
        raise RcnSearchError(
            f"{uri} has {predictions.meta['keypoints']!r} points; {dataset.uri} has {manifest.keypoints!r}"
        )
    name, subset = manifest.dataset_and_subset(split_name)
    meta = predictions.meta | {"fingerprint": manifest.fingerprint, "dataset": name, "subset": subset}
    return replace(predictions, **ground_truth_fields(split, manifest), meta=meta)


def _store_predictions(leaderboard: str, predictions: Predictions) -> tuple[str | None, str]:
    """Store the predictions, so that they can be scored again; their URI, if it may be shared, and their SHA-256."""
    content = encode_predictions(predictions)
    sha256 = hashlib.sha256(content).hexdigest()
    uri = storage.join(leaderboard, PREDICTIONS, f"{sha256}.parquet")
    with contextlib.suppress(storage.ObjectExistsError):
        storage.write_bytes(uri, content, if_absent=True)
    return shareable_uri(uri), sha256
