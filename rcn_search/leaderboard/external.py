"""A prediction file onto the leaderboard: ours as it is, anyone else's joined with our truth and scored by the same code."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rcn_search import __version__, storage
from rcn_search.data.dataset import open_dataset
from rcn_search.data.shards import read_manifest
from rcn_search.evaluation.predictions import Predictions, encode_predictions, read_predictions
from rcn_search.evaluation.protocol import Normalizer, Protocol, named_protocol, rcn2016, subpixel
from rcn_search.evaluation.score import Score, score
from rcn_search.leaderboard.entry_fields import entry_fields, shareable_uri
from rcn_search.leaderboard.external_join import ground_truth_fields, join_ground_truth
from rcn_search.leaderboard.formats import ExternalFormat, read_external
from rcn_search.leaderboard.lookup import PREDICTIONS
from rcn_search.leaderboard.records import Entry, add_entry
from rcn_search.leaderboard.test_evaluations import record_test_evaluation


@dataclass(frozen=True, kw_only=True)
class AddedPredictions:
    """What came of it.

    Attributes:
        scores: By protocol.
        gaps: A line for images without an answer and one for answers without an image, if there are any.
        test_looks: Looks at this test split so far, this one included; None for a split that is no test.
        entry_uris: Entries added, one for each protocol.
    """

    scores: list[tuple[Protocol, Score]]
    warnings: list[str]
    num_test_evaluations: int | None
    entry_uris: list[str]


def add_predictions(
    uri: str,
    data_uri: str,
    split_name: str,
    *,
    leaderboard: Callable[[], str],
    method: str,
    file_format: ExternalFormat | None = None,
    normalizers: Sequence[Normalizer] = (),
    pixel_offset: float = 0.0,
    hardware: str = "not stated",
    num_params: int | None = None,
    multiply_adds: int | None = None,
    latency_ms: float | None = None,
    source: str | None = None,
) -> AddedPredictions:
    """Score a prediction file with the truth of a data set and enter it. A look at a test split is counted first.

    Args:
        uri: Our Parquet, or a file that `read_foreign` reads.
        data_uri: Whose truth counts, whatever truth the file holds.
        split_name: Which images.
        leaderboard: Gives the URI of the leaderboard.
        method: Name on the leaderboard.
        kind: Format of a file that is not ours; by default found out.
        normalizers: To score under beside those of `rcn2016` and `subpixel`.
        shift_px: Added to each coordinate of a file that is not ours.
        hardware: What it was computed on.
        num_params: Of the model, if known.
        multiply_adds: Of the model for one face, if known.
        latency_ms: Of one face, if known.
        source: Where the predictions come from.

    Raises:
        DatasetError: The data set is missing or damaged, or has no such split.
        FileNotFoundError: There is no prediction file.
        ValueError: It cannot be read, or is of other images or points.
    """
    manifest = read_manifest(data_uri)
    place = (*manifest.dataset_and_subset(split_name), manifest.keypoints)
    gaps: list[str] = []
    if uri.endswith(".parquet"):
        predictions, origin = _load_native(uri, data_uri, split_name), "ours"
    else:
        answers = read_external(uri, file_format)
        digest = hashlib.sha256(storage.read_bytes(uri)).hexdigest()
        joined = join_ground_truth(
            answers, data_uri, split_name, method=method, run_id=digest[:12], pixel_offset=pixel_offset
        )
        predictions, gaps, origin = joined.predictions, joined.coverage_warnings(), "reproduced"
    run_id = predictions.meta["run_id"]
    test_looks = None
    if split_name in manifest.test_splits:
        test_looks = record_test_evaluation(leaderboard(), dataset=place[0], subset=place[1], method=method, run_id=run_id)
    protocols = [subpixel(*place), *(subpixel(*place, each) for each in normalizers if each != "eye_centers")]
    if predictions.meta["grid_px"] == rcn2016(*place).grid_px:
        protocols.insert(0, rcn2016(*place))
        if place[2] == "ibug68":
            protocols.insert(1, named_protocol("rcn2016-49", *place[:2], "ibug49"))
    scores = [(protocol, score(predictions, protocol)) for protocol in protocols]
    kept_uri, sha256 = _store_predictions(leaderboard(), predictions)
    entries = [
        Entry(
            method=method,
            origin=origin,
            **entry_fields(leaderboard(), predictions, protocol, scored),
            run_id=run_id,
            config=predictions.meta.get("config", {}),
            num_params=num_params,
            multiply_adds=multiply_adds,
            epochs=predictions.meta.get("epoch"),
            hardware=hardware,
            code_version=__version__,
            test_looks=test_looks or 0,
            predictions_sha256=sha256,
            predictions_uri=kept_uri,
            latency_ms=latency_ms,
            source=source,
        )
        for protocol, scored in scores
    ]
    entry_uris = [add_entry(leaderboard(), entry) for entry in entries]
    return AddedPredictions(scores=scores, warnings=gaps, num_test_evaluations=test_looks, entry_uris=entry_uris)


def _load_native(uri: str, data_uri: str, split_name: str) -> Predictions:
    """Our own prediction file with the truth of the data set in the place of its own."""
    predictions, dataset = read_predictions(uri), open_dataset(data_uri)
    split = dataset.split(split_name)
    if not np.array_equal(predictions.image_id, split.image_id_n):
        raise ValueError(
            f"{uri} is of other images than {split_name!r} of {data_uri}: {len(predictions):,} of split "
            f"{predictions.meta['split']!r} of data {predictions.meta['fingerprint']}, not {split.num_rows:,}"
        )
    meta = predictions.meta | {"fingerprint": dataset.manifest.fingerprint}
    return replace(predictions, **ground_truth_fields(split, bordered=dataset.manifest.bordered), meta=meta)


def _store_predictions(leaderboard: str, predictions: Predictions) -> tuple[str | None, str]:
    """Put the predictions on the leaderboard, so that they can be scored again; their place and hash."""
    content = encode_predictions(predictions)
    sha256 = hashlib.sha256(content).hexdigest()
    uri = storage.join(leaderboard, PREDICTIONS, f"{sha256}.parquet")
    with contextlib.suppress(storage.ObjectExistsError):
        storage.write_bytes(uri, content, if_absent=True)
    return shareable_uri(uri), sha256
