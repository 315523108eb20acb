"""Trials of a study against test splits, each once in the life of the study: a look is marked before it is taken.

STUDY/scores/000012-aflw-test/started.json            put-if-absent: this trial is being looked at on this split
STUDY/scores/000012-aflw-test/predictions.parquet
STUDY/scores/000012-aflw-test/score.json           written last: errors, and the entries on the board
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from rcn_search import storage
from rcn_search.config.schema import FrozenModel
from rcn_search.data.shards import read_manifest
from rcn_search.evaluation.predictions import Predictions, read_predictions
from rcn_search.inference.config import InferenceConfig
from rcn_search.reproduce.paper_tables import Place
from rcn_search.study.records import StudyError

SCORES = "scores"
_LOOK, _PREDICTIONS, _SCORE = "started.json", "predictions.parquet", "score.json"


class Target(NamedTuple):
    """A split to be scored on."""

    data_uri: str
    split: str
    place: Place
    is_test: bool
    fingerprint: str
    """Of its data set."""


class Candidate(NamedTuple):
    """Weights to be scored."""

    name: str
    """Unique in the study, as in ``000012``."""
    method: str
    """On the board."""
    checkpoint: str
    denoiser: str = ""
    """Checkpoint of the denoiser of a joint model."""


Look = Callable[[Candidate, Target], Predictions | None]
"""Gives the predictions of weights on a split; None where there are none and none shall be made."""


class Scored(FrozenModel):
    """``score.json``: the weights, the split, the errors by protocol, the entries on the board."""

    method: str
    checkpoint: str
    denoiser: str
    split: str
    fingerprint: str
    errors_pct: dict[str, float]
    entries: tuple[str, ...]


def find_targets(data_uris: Sequence[str], wanted: Iterable[Place], val_split: str) -> list[Target]:
    """Where to score: of each data set the wanted test subsets it has, else all its tests; without any, validation.

    Raises:
        DatasetError: A data set is missing or damaged.
        ValueError: Two of them have a test subset of the same name.
    """
    wanted, targets = set(wanted), list[Target]()
    for uri in data_uris:
        manifest = read_manifest(uri)
        tests = [
            Target(uri, split, manifest.dataset_and_subset(split), True, manifest.fingerprint)
            for split in manifest.test_splits
        ]
        targets += [each for each in tests if each.place in wanted] or tests
    if len({each.place for each in targets}) < len(targets):
        raise ValueError(f"{' and '.join(data_uris)} both have {'/'.join(targets[0].place)}: which is meant?")
    if not targets:
        manifest = read_manifest(data_uris[0])
        targets = [Target(data_uris[0], val_split, manifest.dataset_and_subset(val_split), False, manifest.fingerprint)]
    return targets


class Scores:
    """The scores of a study."""

    def __init__(self, study_uri: str) -> None:
        self._uri = storage.join(study_uri, SCORES)

    def find(self, candidate: Candidate, target: Target) -> Predictions | None:
        """The predictions of a look that was taken; None where it was not.

        Raises:
            StudyError: It was taken at other images of the same name.
        """
        folder = self._folder(candidate, target)
        try:
            scored = Scored.model_validate(storage.read_json(storage.join(folder, _SCORE)))
        except FileNotFoundError:
            return None
        if scored.fingerprint != target.fingerprint:
            raise StudyError(
                f"{folder}: {candidate.method} was scored on {'/'.join(target.place)} of data {scored.fingerprint}; "
                f"{target.data_uri} is {target.fingerprint}. Name that data set, or start a study at another place"
            )
        return read_predictions(storage.join(folder, _PREDICTIONS))

    def take(
        self,
        candidate: Candidate,
        target: Target,
        *,
        board: Callable[[], str],
        enter: bool,
        on_images: Callable[[int, int], None] = lambda done, total: None,
    ) -> Predictions:
        """The predictions of weights on a split: of the look that was taken, or of the one that is taken now.

        Args:
            candidate: What to score.
            target: Where.
            board: Gives the board's URI.
            enter: Add the scores to the board.
            on_images: Called with (images done, images in all).

        Raises:
            StudyError: See `find`; or a look was begun and did not end.
            ValueError: See `evaluate_and_record`.
        """
        if (there := self.find(candidate, target)) is not None:
            return there
        from rcn_search.data.dataset import open_dataset  # torch is not needed before
        from rcn_search.inference.predictor import load
        from rcn_search.leaderboard.submit import evaluate_and_record

        folder = self._folder(candidate, target)
        look, predictions_uri = storage.join(folder, _LOOK), storage.join(folder, _PREDICTIONS)
        mark = {"method": candidate.method, "split": target.split, "when": datetime.now(UTC).isoformat()}
        try:
            storage.write_json(look, mark, if_absent=True)
        except storage.ObjectExistsError:
            raise StudyError(
                f"{folder}: a look was begun and has not ended. Another process is at it; if none is, it was killed: "
                "delete this folder to look again"
            ) from None
        try:
            submission = evaluate_and_record(
                load(candidate.checkpoint, InferenceConfig(denoiser_uri=candidate.denoiser or None)),
                open_dataset(target.data_uri),
                target.split,
                leaderboard=board,
                predictions_uri=predictions_uri,
                submit=enter,
                method=candidate.method,
                on_images=on_images,
            )
        except BaseException:
            if not storage.exists(predictions_uri):  # nobody has seen anything
                storage.delete(look)
            raise
        scored = Scored(
            method=candidate.method,
            checkpoint=candidate.checkpoint,
            denoiser=candidate.denoiser,
            split=target.split,
            fingerprint=target.fingerprint,
            errors_pct={protocol.name: score.error_pct for protocol, score in submission.evaluation.scores},
            entries=tuple(submission.entry_uris),
        )
        storage.write_json(storage.join(folder, _SCORE), scored.model_dump(mode="json"), if_absent=True)
        return submission.evaluation.predictions

    def _folder(self, candidate: Candidate, target: Target) -> str:
        return storage.join(self._uri, "-".join((candidate.name, *target.place)))
