"""What becomes of the best trial: retrained if the study says so, scored once on the test split, put on the board.

Of a study with replication it is the winner with all its seeds, each of them a look and an entry of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from pydantic import Field
from rich.console import Console

from rcn_search import storage
from rcn_search.config.loading import resolve_train_config
from rcn_search.config.schema import FrozenModel, TrainConfig
from rcn_search.study.records import StudyError
from rcn_search.study.space.study_config import overlay
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.study.winner import Winner

TEST_RESULT_NAME = "final.json"
TEST_FOLDER = "final"
_PREDICTIONS, _SCORE = "predictions.parquet", "score.json"


class CheckpointScore(FrozenModel):
    """The score of one set of weights.

    Attributes:
        checkpoint: The weights.
        errors_pct: On the test split, by protocol.
        entries: URIs on the board.
    """

    checkpoint: str
    errors_pct: dict[str, float]
    entries: tuple[str, ...]


class TestResult(CheckpointScore):
    """The score of a study's best trial, or of its winner; ``final.json`` of the study.

    Attributes:
        trial: Its number.
        checkpoint: The weights that were scored; of several seeds those of the first.
        errors_pct: On the test split, by protocol; of several seeds their mean.
        entries: URIs on the board, of all seeds.
        seeds: Scores by seed, with replication.
    """

    trial: int
    seeds: dict[int, CheckpointScore] = Field({})


def evaluate_best_trial(study: Study, winner: Winner | None, *, board: Callable[[], str], console: Console) -> TestResult | None:
    """Score the best trial, once in the life of a study; None if the study wants no score or no trial is complete.

    Args:
        study: All of whose trials have ended.
        winner: By its replicates, whose weights are scored instead; None without replication.
        board: Gives the board's URI.
        console: Where to print.

    Raises:
        StudyError: A look at the test split was taken, and what came of it is not known.
        ValueError: See `evaluate_and_record`.
        TrainingFailed: The retraining.
    """
    final, best = study.space.test, study.best
    if final is None:
        return None
    place = storage.join(study.uri, TEST_RESULT_NAME)
    if storage.exists(place):
        return TestResult.model_validate(storage.read_json(place))
    if best is None:
        console.print("no trial is complete: there is nothing to score")
        return None
    # Torch is not needed before this point.
    from rcn_search.training.exit_status import BEST_NAME

    folder = storage.join(study.uri, TEST_FOLDER)
    if winner:
        seeds = {
            each.seed: _scored(study, each.checkpoint, storage.join(folder, f"seed-{each.seed}"), board)
            for each in winner.runs
        }
        first = next(iter(seeds.values()))
        score = TestResult(
            trial=winner.trial,
            checkpoint=first.checkpoint,
            errors_pct={name: fmean(each.errors_pct[name] for each in seeds.values()) for name in first.errors_pct},
            entries=tuple(uri for each in seeds.values() for uri in each.entries),
            seeds=seeds,
        )
    else:
        trained = _retrained(study, best, console) if final.retrain else best.folder
        only = _scored(study, storage.join(trained, BEST_NAME), folder, board)
        score = TestResult(trial=best.number, **dict(only))
    storage.write_json(place, score.model_dump(mode="json"), if_absent=True)
    return score


def _scored(study: Study, checkpoint: str, folder: str, board: Callable[[], str]) -> CheckpointScore:
    """Look at the test split and enter what is seen, once: what was done already is read.

    A look that died before there were predictions was seen by nobody: it is taken again, and counted again.

    Raises:
        StudyError: There are predictions, but nobody knows whether they were entered.
    """
    from rcn_search.leaderboard.submit import evaluate_and_record

    final, place = study.space.test, storage.join(folder, _SCORE)
    assert final is not None
    if storage.exists(place):
        return CheckpointScore.model_validate(storage.read_json(place))
    predictions_uri = storage.join(folder, _PREDICTIONS)
    if storage.exists(predictions_uri):
        raise StudyError(
            f"{predictions_uri}: a look at {final.split!r} was taken, but its score not written down: the driver was "
            f"killed while it was entered. See whether {final.method!r} is on the board; delete this file to look again"
        )
    submission = evaluate_and_record(
        checkpoint,
        study.space.config({}).data.uri,
        final.split,
        board=board,
        predictions_uri=predictions_uri,
        enter=True,
        method=final.method,
    )
    score = CheckpointScore(
        checkpoint=checkpoint,
        errors_pct={protocol.name: result.error_pct for protocol, result in submission.evaluation.scores},
        entries=tuple(submission.entry_uris),
    )
    storage.write_json(place, score.model_dump(mode="json"), if_absent=True)
    return score


def _retrained(study: Study, best: Trial, console: Console) -> str:
    """Folder of the best configuration trained again, with what the study changes; taken up if it was interrupted."""
    from rcn_search.training.epoch_report import EpochReport
    from rcn_search.training.trainer import TrainRun, train

    assert study.space.test is not None
    folder = storage.join(study.uri, TEST_FOLDER)
    document = best.suggestion.config.model_dump(mode="json", exclude={"compute"})
    document["data"]["uri"] = study.space.config({}).data.uri
    config: TrainConfig = resolve_train_config(overlay(document, study.space.test.retrain), source="test.retrain")
    run = TrainRun(config, folder, resume=True)

    def on_epoch(report: EpochReport) -> None:
        error = "" if report.val_error_pct is None else f", validation error {report.val_error_pct:.2f} %"
        console.print(f"final: epoch {report.epoch} of {config.schedule.epochs}{error}", highlight=False)

    console.print(f"training the configuration of trial {best.number} again, with {study.space.test.retrain}")
    train(run, on_epoch)
    return folder
