"""``rcn-search evaluate``: predict a split, print its errors and, if asked, submit them to the leaderboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rcn_search import storage
from rcn_search.cli.console import command, console, print_text, progress, score_table
from rcn_search.cli.options import AllowTarget, DataUri, DecoderOption, Denoiser, Device, Leaderboard, TtaOption
from rcn_search.cluster.ray_job import check_outlives_job, check_travels_with_job

if TYPE_CHECKING:
    from rcn_search.evaluation.calibrate import Calibration
    from rcn_search.leaderboard.submit import Submission

CalibrateOption = Annotated[
    bool,
    typer.Option(
        "--calibrate",
        help="Fit the radius around each point that holds the true point with 90 %, and keep it in the checkpoint.",
    ),
]


@command
def evaluate_command(
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="CHECKPOINT", help="Packaged weights, folder of a run, checkpoint, or exported file."),
    ],
    data: DataUri,
    split: Annotated[str, typer.Option(help="Split to predict: val, or a test split.")] = "val",
    predictions: Annotated[
        str, typer.Option(metavar="URI", help="Prediction file to write. Default: beside the checkpoint.")
    ] = "",
    calibrate: CalibrateOption = False,
    submit: Annotated[bool, typer.Option("--submit", help="Add the scores to the leaderboard.")] = False,
    method: Annotated[
        str, typer.Option(help="Name on the leaderboard. Default: made from the configuration of the run.")
    ] = "",
    decoder: DecoderOption = None,
    tta: TtaOption = None,
    denoiser: Denoiser = "",
    leaderboard: Leaderboard = "",
    device: Device = "auto",
    allow_target: AllowTarget = None,
) -> None:
    """Predict a split and print its errors. Evaluations of a test split are counted on the leaderboard.

    Example: rcn-search evaluate runs/first/best.safetensors --data data/mtfl --split aflw --submit
    """
    from rcn_search.data.dataset import open_dataset
    from rcn_search.evaluation.calibrate import calibrate as fit_radius
    from rcn_search.evaluation.calibrate import check_calibration
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
    predictor, dataset = load(checkpoint, inference), open_dataset(data)
    weights = check_calibration(checkpoint, predictor, dataset.manifest, split) if calibrate else ""
    with progress("evaluating", "faces") as on_images:
        submission = evaluate_and_record(
            predictor,
            dataset,
            split,
            leaderboard=leaderboard_uri,
            predictions_uri=predictions,
            submit=submit,
            method=method or None,
            on_images=on_images,
        )
    _print_submission(submission, leaderboard_uri)
    if calibrate:
        _print_calibration(fit_radius(predictor, weights, submission.evaluation.predictions))


def _print_submission(submission: Submission, leaderboard_uri: str | None) -> None:
    evaluation = submission.evaluation
    console.print(f"{evaluation.predictions.meta['method']} on {evaluation.scores[0][0].dataset}", highlight=False)
    console.print(score_table(evaluation.scores))
    if submission.num_test_evaluations is not None:
        console.print(f"test evaluation no. {submission.num_test_evaluations} of this split on {leaderboard_uri}")
    for uri in (evaluation.predictions_uri, *submission.entry_uris):
        console.print(f"→ {uri}", soft_wrap=True, highlight=False)


def _print_calibration(calibration: Calibration) -> None:
    """Say which radii were fitted, and how often they hold the true points of other images."""
    coverage, table = calibration.coverage, calibration.table
    ends = "" if coverage.low_pct is None else f" ({coverage.low_pct:.1f} – {coverage.high_pct:.1f})"
    print_text(
        f"radius of {table.coverage:.0%} from {table.num_images:,} images of {table.split}: on average "
        f"{calibration.radius_pct:.1f} % of the side of the face box; it holds {coverage.pct:.1f} %{ends} of the "
        "points of images that it was not fitted to (cross-validated)"
    )
    print_text(f"→ {calibration.checkpoint_uri}")
