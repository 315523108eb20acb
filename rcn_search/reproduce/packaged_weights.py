"""Make packaged weights: draw faces, train, choose on drawn validation faces, calibrate, measure once, and pack.

    OUT/data              drawn faces
    OUT/seed-N            trainings, which resume
    OUT/NAME.safetensors  the chosen weights, calibrated
    OUT/leaderboard       test evaluations and entries of the chosen weights

Each step that is done is not repeated, so the same call resumes after an interruption.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rcn_search import __version__, storage
from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import Dataset, open_dataset
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import import_dataset
from rcn_search.data.shards import Manifest
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.calibrate import calibrate
from rcn_search.evaluation.evaluate import method_name
from rcn_search.evaluation.model_card import CardData, CardScore, ModelCard, card_score
from rcn_search.evaluation.packaged_weights import check_size, write_weights
from rcn_search.evaluation.predict_split import check_keypoints, predict_split
from rcn_search.inference.predictor import Predictor, load
from rcn_search.keypoints import keypoint_schema
from rcn_search.leaderboard.class_names import class_name
from rcn_search.leaderboard.submit import evaluate_and_record
from rcn_search.training.epoch_report import EpochReport
from rcn_search.training.train import TrainResult, train

LICENSE = "Apache-2.0"
_VAL, _TEST = "val", "test"


@dataclass(frozen=True, kw_only=True)
class WeightsRequest:
    """What to make.

    Attributes:
        name: Name of the weights.
        config: Training configuration; its data set and seed are replaced.
        schema: Keypoint schema of the drawn faces, ``five`` or ``ibug68``.
        out: Folder of the work.
        into: Folder of the packaged weights.
        num_train, num_val, num_test: Numbers of faces to draw.
        num_seeds: Trainings, of which the best on validation faces is packed.
        measured: Data sets and their test splits on which the packed weights are measured, once each.
    """

    name: str
    config: TrainConfig
    schema: str
    out: Path
    into: Path
    num_train: int
    num_val: int
    num_test: int
    num_seeds: int
    measured: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Functions that are called with what was done."""

    on_text: Callable[[str], None] = lambda text: None
    on_faces: Callable[[int, int], None] = lambda done, total: None
    on_epoch: Callable[[EpochReport], None] = lambda report: None
    should_stop: Callable[[], bool] = lambda: False


def make_weights(request: WeightsRequest, progress: Progress) -> tuple[ModelCard, list[Path]]:
    """Make packaged weights and their card; return the card and the files.

    Raises:
        RcnSearchError: The weights are too large for a package, or a data set to measure on has other points.
        Interrupted: ``progress.should_stop`` returned true; the same call resumes.
    """
    data_uri = str(request.out / "data")
    importer = SyntheticImporter(
        schema=request.schema, num_train=request.num_train, num_val=request.num_val, num_test=request.num_test
    )
    photographs = [_test_split(uri, split, request.schema) for uri, split in request.measured]
    manifest = import_dataset(importer, data_uri, on_rows=progress.on_faces).manifest
    measured = [(open_dataset(data_uri), _TEST), *photographs]
    results = [_train_seed(request, data_uri, seed, progress) for seed in range(request.num_seeds)]
    best = min(results, key=lambda result: result.best_error_pct)
    content = storage.read_bytes(best.checkpoint)
    check_size(len(content), request.name)
    chosen = str(request.out / f"{request.name}.safetensors")
    storage.write_bytes(chosen, content)
    predictor = load(chosen)
    found = calibrate(predictor, chosen, predict_split(predictor, measured[0][0], _VAL, method=request.name))
    progress.on_text(
        f"best validation error {best.best_error_pct:.2f} % → {chosen}; radius {found.radius_pct:.1f} % of the face box"
    )
    predictor = load(chosen)
    scores = [score for dataset, split in measured for score in _measure(request, predictor, dataset, split)]
    card = _card(request, predictor, manifest, tuple(scores))
    return card, write_weights(request.into, card, storage.read_bytes(chosen))


def _test_split(uri: str, split: str, schema: str) -> tuple[Dataset, str]:
    dataset = open_dataset(uri)
    ours, theirs = keypoint_schema(schema), dataset.manifest.keypoint_schema
    if ours != theirs:
        raise RcnSearchError(f"{uri} has {theirs.name!r} points; the weights have {ours.name!r} points")
    if split not in dataset.manifest.test_splits:
        known = ", ".join(dataset.manifest.test_splits) or "none"
        raise RcnSearchError(f"{split!r} is no test split of {uri}, whose test splits are: {known}")
    return dataset, split


def _train_seed(request: WeightsRequest, data_uri: str, seed: int, progress: Progress) -> TrainResult:
    document = request.config.model_dump(mode="json") | {"seed": seed}
    document["data"]["uri"] = data_uri
    out = str(request.out / f"seed-{seed}")
    progress.on_text(f"training {seed + 1} of {request.num_seeds} → {out}")
    return train(
        TrainConfig.model_validate(document),
        out,
        resume=True,
        should_stop=progress.should_stop,
        on_epoch=progress.on_epoch,
    )


def _measure(request: WeightsRequest, predictor: Predictor, dataset: Dataset, split: str) -> list[CardScore]:
    """Evaluate a test split, counted on the leaderboard of the work, and submit the scores to it."""
    check_keypoints(predictor.info, dataset.manifest, dataset.uri)
    submission = evaluate_and_record(
        predictor,
        dataset,
        split,
        leaderboard=str(request.out / "leaderboard"),
        predictions_uri=str(request.out / f"predictions-{dataset.manifest.name}-{split}.parquet"),
        submit=True,
        method=request.name,
    )
    return [
        card_score(protocol, score, {name: class_name(protocol.dataset, name) for name in score.parts})
        for protocol, score in submission.evaluation.scores
    ]


def _card(
    request: WeightsRequest, predictor: Predictor, manifest: Manifest, scores: tuple[CardScore, ...]
) -> ModelCard:
    info = predictor.info
    content = (request.out / f"{request.name}.safetensors").read_bytes()
    assert info.val_error_pct is not None  # of the best epoch, which was validated
    return ModelCard(
        name=request.name,
        sha256=hashlib.sha256(content).hexdigest(),
        num_bytes=len(content),
        license=LICENSE,
        keypoints=info.keypoints,
        points=info.keypoint_schema.names,
        input_px=info.config.input.size_px,
        num_params=predictor.num_params,
        multiply_adds=predictor.multiply_adds,
        data=CardData(
            source=manifest.source,
            license=manifest.license,
            fingerprint=manifest.fingerprint,
            num_train=manifest.num_rows("train"),
            num_val=manifest.num_rows(_VAL),
        ),
        method=method_name(info),
        epochs=info.epoch,
        train_s=info.train_s,
        num_seeds=request.num_seeds,
        val_error_pct=info.val_error_pct,
        code_version=__version__,
        scores=scores,
    )
