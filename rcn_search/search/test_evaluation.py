"""Test evaluation of the best trial: retrained if the study says so, scored once on the test split, and submitted.

With replication the winner is scored with all its seeds; each of them is a test evaluation and an entry of its own.
"""

from __future__ import annotations

from statistics import fmean

from pydantic import Field
from rich.console import Console

from rcn_search import storage
from rcn_search.config.loading import resolve_train_config
from rcn_search.config.schema import FrozenModel, TrainConfig
from rcn_search.search.calibrate_winner import calibrate_checkpoint
from rcn_search.study.records import ErrorPct, StudyError, read_record
from rcn_search.study.space.study_config import overlay
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.study.winner import Winner
from rcn_search.training.exit_status import BEST_NAME

TEST_RESULT_NAME, TEST_FOLDER = "test_result.json", "test"
_PREDICTIONS, _SCORE = "predictions.parquet", "score.json"


class CheckpointScore(FrozenModel):
    """Errors of a checkpoint on the test split, by protocol, and URIs of its leaderboard entries."""

    checkpoint: str
    errors_pct: dict[str, ErrorPct]
    entries: tuple[str, ...]


class TestResult(CheckpointScore):
    """Scores of a study's best trial, or of its winner; ``test_result.json`` of the study.

    With replication, ``checkpoint`` is that of the first seed, and ``errors_pct`` are the means over seeds.
    """

    trial: int
    seeds: dict[int, CheckpointScore] = Field({})


def evaluate_best_trial(
    study: Study, winner: Winner | None, *, leaderboard: str | None, console: Console
) -> TestResult | None:
    """Score the best trial on the test split, once in the life of a study whose trials have all ended.

    With replication, the checkpoints of the winner are scored instead. The leaderboard is needed if the result does not
    exist yet. The result is None if the study asks for no test evaluation or no trial is complete.

    Raises:
        StudyError: The test split was evaluated, but a crash left it open whether the score was submitted.
        TrainingFailed: The retraining failed.
    """
    if study.config.test is None:
        return None
    result_uri = storage.join(study.uri, TEST_RESULT_NAME)
    if storage.exists(result_uri):
        return read_record(result_uri, TestResult)
    if study.best_trial is None:
        console.print("no trial is complete: there is nothing to evaluate")
        return None
    assert leaderboard is not None, "open_or_resume requires one"
    if winner:
        result = _evaluate_seeds(study, winner, leaderboard)
    else:
        folder = study.best_trial.folder
        if study.config.test.retrain:
            folder = _retrain(study, study.best_trial, console)
            calibrate_checkpoint(study, storage.join(folder, BEST_NAME), console)
        test_folder = storage.join(study.uri, TEST_FOLDER)
        score = _evaluate_checkpoint(study, storage.join(folder, BEST_NAME), test_folder, leaderboard)
        result = TestResult(trial=study.best_trial.number, **dict(score))
    storage.write_json(result_uri, result.model_dump(mode="json"), if_absent=True)
    return result


def _evaluate_seeds(study: Study, winner: Winner, leaderboard: str) -> TestResult:
    folder = storage.join(study.uri, TEST_FOLDER)
    seeds = {
        run.seed: _evaluate_checkpoint(study, run.checkpoint, storage.join(folder, f"seed-{run.seed}"), leaderboard)
        for run in winner.runs
    }
    scores = list(seeds.values())
    return TestResult(
        trial=winner.trial,
        checkpoint=scores[0].checkpoint,
        errors_pct={name: fmean(score.errors_pct[name] for score in scores) for name in scores[0].errors_pct},
        entries=tuple(uri for score in scores for uri in score.entries),
        seeds=seeds,
    )


def _evaluate_checkpoint(study: Study, checkpoint: str, folder: str, leaderboard: str) -> CheckpointScore:
    """Evaluate a checkpoint on the test split and submit the scores, once; scores that exist are read.

    An evaluation that died before its predictions were written was seen by nobody: it is repeated and counted again.
    """
    from rcn_search.data.dataset import open_dataset
    from rcn_search.inference.predictor import load
    from rcn_search.leaderboard.submit import evaluate_and_record

    test, score_uri = study.config.test, storage.join(folder, _SCORE)
    assert test is not None
    if storage.exists(score_uri):
        return read_record(score_uri, CheckpointScore)
    predictions_uri = storage.join(folder, _PREDICTIONS)
    if storage.exists(predictions_uri):
        raise StudyError(
            f"{predictions_uri}: split {test.split!r} was evaluated, but the process died while it submitted the "
            f"score. Check whether {test.method!r} is on the leaderboard; to repeat the evaluation, which counts it "
            "again, delete this file and resume the study"
        )
    submission = evaluate_and_record(
        load(checkpoint),
        open_dataset(study.config.base_config.data.uri),
        test.split,
        leaderboard=leaderboard,
        predictions_uri=predictions_uri,
        submit=True,
        method=test.method,
    )
    score = CheckpointScore(
        checkpoint=checkpoint,
        errors_pct={protocol.name: result.error_pct for protocol, result in submission.evaluation.scores},
        entries=tuple(submission.entry_uris),
    )
    storage.write_json(score_uri, score.model_dump(mode="json"), if_absent=True)
    return score


def _retrain(study: Study, best: Trial, console: Console) -> str:
    """Train the best configuration again with the study's changes, or resume that training; the folder of the run."""
    from rcn_search.training.epoch_report import EpochReport
    from rcn_search.training.trainer import Trainer

    assert study.config.test is not None
    changes, folder = study.config.test.retrain, storage.join(study.uri, TEST_FOLDER)
    document = best.config.model_dump(mode="json", exclude={"compute"})
    document["data"]["uri"] = study.config.base_config.data.uri
    config: TrainConfig = resolve_train_config(overlay(document, changes), source="test.retrain")
    run = Trainer(config, folder, resume=True)

    def on_epoch(report: EpochReport) -> None:
        error = "" if report.val_error_pct is None else f", validation error {report.val_error_pct:.2f} %"
        console.print(f"retraining: epoch {report.epoch} of {config.schedule.epochs}{error}", highlight=False)

    changed = ", ".join(f"{key}={value}" for key, value in changes.items())
    console.print(f"retraining the configuration of trial {best.number} with {changed}", highlight=False)
    run.train(on_epoch)
    return folder
