"""Scores of a study's checkpoints on test splits: each evaluation is made once in the life of the study.

STUDY/scores/000012-aflw-test/started.json          put if absent, before the evaluation
STUDY/scores/000012-aflw-test/predictions.parquet
STUDY/scores/000012-aflw-test/score.json            written last: errors, and the entries on the leaderboard
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from rcn_search import storage
from rcn_search.config.schema import FrozenModel
from rcn_search.data.shards import Manifest, read_manifest
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.predictions import Predictions, read_predictions
from rcn_search.inference.config import InferenceConfig
from rcn_search.reproduce.paper_tables import Subset
from rcn_search.study.records import StudyError

SCORES = "scores"
_STARTED, _PREDICTIONS, _SCORE = "started.json", "predictions.parquet", "score.json"


class Target(NamedTuple):
    """A split to evaluate on, and the subset of the paper's data sets that it holds."""

    data_uri: str
    split: str
    subset: Subset
    is_test: bool
    fingerprint: str


class Candidate(NamedTuple):
    """A checkpoint to evaluate.

    Attributes:
        name: Name that is unique in the study, as in ``000012``.
        denoiser: Checkpoint of the denoiser of a joint model; empty without one.
    """

    name: str
    method: str
    checkpoint: str
    denoiser: str = ""


PredictionSource = Callable[[Candidate, Target], Predictions | None]
"""Return the predictions of a checkpoint on a split; None where there are none and none are to be made."""


class ScoreRecord(FrozenModel):
    """``score.json``: checkpoint, split, errors by protocol, and entries on the leaderboard."""

    method: str
    checkpoint: str
    denoiser: str
    split: str
    fingerprint: str
    errors_pct: dict[str, float]
    entries: tuple[str, ...]


def find_targets(data_uris: Sequence[str], wanted: Iterable[Subset], val_split: str) -> list[Target]:
    """Choose where to evaluate: the wanted test subsets of each data set, else all its test splits.

    If no data set has a test split, it is the validation split of the first, on which the rows are trained.

    Raises:
        RcnSearchError: Two data sets have the same test subset.
    """
    wanted, targets = set(wanted), list[Target]()
    for uri in data_uris:
        manifest = read_manifest(uri)
        tests = [_target(uri, manifest, split, is_test=True) for split in manifest.test_splits]
        targets += [target for target in tests if target.subset in wanted] or tests
    if len({target.subset for target in targets}) < len(targets):
        raise RcnSearchError(f"{' and '.join(data_uris)} both have {targets[0].subset}; name only one of them")
    return targets or [_target(data_uris[0], read_manifest(data_uris[0]), val_split, is_test=False)]


def _target(uri: str, manifest: Manifest, split: str, *, is_test: bool) -> Target:
    return Target(uri, split, Subset(*manifest.dataset_and_subset(split)), is_test, manifest.fingerprint)


class TestScores:
    """Scores of a study's checkpoints."""

    __test__ = False  # not a test case, whatever pytest makes of the name

    def __init__(self, study_uri: str) -> None:
        self._uri = storage.join(study_uri, SCORES)

    def load(self, candidate: Candidate, target: Target) -> Predictions | None:
        """Read the predictions of a finished evaluation; None where there was none.

        Raises:
            StudyError: The checkpoint was evaluated on another data set of the same name.
        """
        folder = self._folder(candidate, target)
        try:
            record = ScoreRecord.model_validate(storage.read_json(storage.join(folder, _SCORE)))
        except FileNotFoundError:
            return None
        if record.fingerprint != target.fingerprint:
            raise StudyError(
                f"{folder}: {candidate.method} was scored on {target.subset} of data {record.fingerprint}; "
                f"{target.data_uri} is {target.fingerprint}. Name that data set, or start another study (--study)"
            )
        return read_predictions(storage.join(folder, _PREDICTIONS))

    def evaluate_once(
        self,
        candidate: Candidate,
        target: Target,
        *,
        leaderboard: str | None,
        submit: bool,
        on_images: Callable[[int, int], None] = lambda done, total: None,
    ) -> Predictions:
        """Return the predictions of a checkpoint on a split, evaluating it if that was not done before.

        With ``submit`` the scores are added to the leaderboard. ``on_images`` takes (images done, images in all).

        Raises:
            StudyError: The checkpoint was evaluated on another data set of the same name, or an evaluation was started
                and has not ended.
        """
        if (predictions := self.load(candidate, target)) is not None:
            return predictions
        from rcn_search.data.dataset import open_dataset  # torch is not needed before
        from rcn_search.inference.predictor import load
        from rcn_search.leaderboard.submit import evaluate_and_record

        folder = self._folder(candidate, target)
        started_uri, predictions_uri = storage.join(folder, _STARTED), storage.join(folder, _PREDICTIONS)
        started = {"method": candidate.method, "split": target.split, "when": datetime.now(UTC).isoformat()}
        try:
            storage.write_json(started_uri, started, if_absent=True)
        except storage.ObjectExistsError:
            raise StudyError(
                f"{folder}: an evaluation was started and has not ended. If no other process is at it, it was killed: "
                "delete this folder to evaluate again"
            ) from None
        try:
            submission = evaluate_and_record(
                load(candidate.checkpoint, InferenceConfig(denoiser_uri=candidate.denoiser or None)),
                open_dataset(target.data_uri),
                target.split,
                leaderboard=leaderboard,
                predictions_uri=predictions_uri,
                submit=submit,
                method=candidate.method,
                on_images=on_images,
            )
        except BaseException:
            if not storage.exists(predictions_uri):  # nobody has seen a score
                storage.delete(started_uri)
            raise
        record = ScoreRecord(
            method=candidate.method,
            checkpoint=candidate.checkpoint,
            denoiser=candidate.denoiser,
            split=target.split,
            fingerprint=target.fingerprint,
            errors_pct={protocol.name: score.error_pct for protocol, score in submission.evaluation.scores},
            entries=tuple(submission.entry_uris),
        )
        storage.write_json(storage.join(folder, _SCORE), record.model_dump(mode="json"), if_absent=True)
        return submission.evaluation.predictions

    def _folder(self, candidate: Candidate, target: Target) -> str:
        return storage.join(self._uri, "-".join((candidate.name, *target.subset)))
