"""``rcn-search evaluate``: predict a split, print its errors and, if asked, submit them to the leaderboard."""

from __future__ import annotations

from typing import Annotated

import typer

from rcn_search import storage
from rcn_search.cli.console import command, console, progress, score_table
from rcn_search.cli.options import DataUri, DecoderOption, Denoiser, Device, Leaderboard, TtaOption
from rcn_search.cluster.ray_job import check_outlives_job, check_travels_with_job


@command
def evaluate_command(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="best.safetensors of a run.")],
    data: DataUri,
    split: Annotated[str, typer.Option(help="Split to predict: val, or a test split.")] = "val",
    predictions: Annotated[
        str, typer.Option(metavar="URI", help="Prediction file to write. Default: beside the checkpoint.")
    ] = "",
    submit: Annotated[bool, typer.Option("--submit", help="Add the scores to the leaderboard.")] = False,
    method: Annotated[
        str, typer.Option(help="Name on the leaderboard. Default: made from the configuration of the run.")
    ] = "",
    decoder: DecoderOption = None,
    tta: TtaOption = None,
    denoiser: Denoiser = "",
    leaderboard: Leaderboard = "",
    device: Device = "auto",
) -> None:
    """Predict a split and print its errors. Evaluations of a test split are counted on the leaderboard.

    Example: rcn-search evaluate runs/first/best.safetensors --data data/mtfl --split aflw --submit
    """
    from rcn_search.data.dataset import open_dataset
    from rcn_search.inference.config import InferenceConfig
    from rcn_search.inference.predictor import load
    from rcn_search.leaderboard.location import resolve_leaderboard
    from rcn_search.leaderboard.submit import evaluate_and_record

    folder = checkpoint.rpartition("/")[0] or "."
    predictions = predictions or storage.join(folder, f"predictions-{split}.parquet")
    check_outlives_job(predictions, "--predictions")
    check_travels_with_job(data)
    inference = InferenceConfig.from_record(
        {}, decoder=decoder, tta=tta or (), denoiser_uri=denoiser or None, device=device
    )
    leaderboard_uri = resolve_leaderboard(leaderboard)
    with progress("evaluating", "faces") as on_images:
        submission = evaluate_and_record(
            load(checkpoint, inference),
            open_dataset(data),
            split,
            leaderboard=leaderboard_uri,
            predictions_uri=predictions,
            submit=submit,
            method=method or None,
            on_images=on_images,
        )
    evaluation = submission.evaluation
    console.print(f"{evaluation.predictions.meta['method']} on {evaluation.scores[0][0].dataset}", highlight=False)
    console.print(score_table(evaluation.scores))
    if submission.num_test_evaluations is not None:
        console.print(f"test evaluation no. {submission.num_test_evaluations} of this split on {leaderboard_uri}")
    for uri in (evaluation.predictions_uri, *submission.entry_uris):
        console.print(f"→ {uri}", soft_wrap=True, highlight=False)
