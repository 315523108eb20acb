"""What becomes of the best trial: retrained if the study says so, scored once on the test split, put on the board."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from rcn_search import storage
from rcn_search.config import Options, TrainConfig
from rcn_search.config_file import resolve_train_config
from rcn_search.search.space import overlay
from rcn_search.search.study import Study, Trial

FINAL = "final.json"
FOLDER = "final"


class FinalScore(Options):
    """The score of a study's best trial; ``final.json`` of the study.

    Attributes:
        trial: Its number.
        checkpoint: The weights that were scored.
        errors_pct: On the test split, by protocol.
        entries: URIs on the board.
    """

    trial: int
    checkpoint: str
    errors_pct: dict[str, float]
    entries: tuple[str, ...]


def score_best(study: Study, *, board: Callable[[], str], console: Console) -> FinalScore | None:
    """Score the best trial, once in the life of a study; None if the study wants no score or no trial is complete.

    Raises:
        ValueError: See `evaluate_and_record`.
        TrainingFailed: The retraining.
    """
    final, best = study.space.final, study.best
    if final is None:
        return None
    place = storage.join(study.uri, FINAL)
    if storage.exists(place):
        return FinalScore.model_validate(storage.read_json(place))
    if best is None:
        console.print("no trial is complete: there is nothing to score")
        return None
    # Torch is not needed before this point.
    from rcn_search.leaderboard.submit import evaluate_and_record
    from rcn_search.training.outcome import BEST_NAME

    folder = _retrained(study, best, console) if final.retrain else best.folder
    checkpoint = storage.join(folder, BEST_NAME)
    submission = evaluate_and_record(
        checkpoint,
        study.space.config({}).data.uri,
        final.split,
        board=board,
        predictions_uri=storage.join(study.uri, FOLDER, "predictions.parquet"),
        enter=True,
        method=final.method,
    )
    score = FinalScore(
        trial=best.number,
        checkpoint=checkpoint,
        errors_pct={protocol.name: result.error_pct for protocol, result in submission.evaluation.scores},
        entries=tuple(submission.entry_uris),
    )
    storage.write_json(place, score.model_dump(mode="json"), if_absent=True)
    return score


def _retrained(study: Study, best: Trial, console: Console) -> str:
    """Folder of the best configuration trained again, with what the study changes; taken up if it was interrupted."""
    from rcn_search.training.run import EpochReport, TrainRun, train

    assert study.space.final is not None
    folder = storage.join(study.uri, FOLDER)
    document = best.suggestion.config.model_dump(mode="json", exclude={"compute"})
    document["data"]["uri"] = study.space.config({}).data.uri
    config: TrainConfig = resolve_train_config(overlay(document, study.space.final.retrain), source="final.retrain")
    run = TrainRun(config, folder, resume=True)

    def on_epoch(report: EpochReport) -> None:
        console.print(
            f"final: epoch {report.epoch} of {config.schedule.epochs}, validation error {report.val_error_pct:.2f} %",
            highlight=False,
        )

    console.print(f"training the configuration of trial {best.number} again, with {study.space.final.retrain}")
    train(run, on_epoch)
    return folder
