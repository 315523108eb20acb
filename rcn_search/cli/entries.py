"""``rcn-search leaderboard add``, ``rescore``, ``verify`` and ``pack``: what changes a leaderboard."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from rcn_search.cli.console import command, console, print_text, progress, score_table, warn
from rcn_search.cli.options import DataUri, DecoderOption, Denoiser, Device, EntryOrMethod, Leaderboard, TtaOption
from rcn_search.errors import RcnSearchError


@command
def add_command(
    predictions: Annotated[
        str, typer.Argument(help="Prediction file: Parquet of this project, CSV, SPIGA's JSON or COCO keypoints.")
    ],
    method: Annotated[str, typer.Option(help="Name on the leaderboard.")],
    data: DataUri,
    split: Annotated[str, typer.Option(help="Split of the data set.")],
    format: Annotated[
        Literal["csv", "spiga", "coco"] | None,
        typer.Option(help="Detected from the file by default; .parquet is this project's format."),
    ] = None,
    normalizer: Annotated[
        list[str] | None, typer.Option(help="Also score with this normalizer, as in outer-eye. May be repeated.")
    ] = None,
    pixel_offset: Annotated[
        float,
        typer.Option(
            help="Added to each x and y. Here pixel i covers i to i + 1: give 0.5 if the center of the first pixel is "
            "0, -0.5 if it is 1."
        ),
    ] = 0.0,
    hardware: Annotated[str, typer.Option(help="Hardware that the predictions were computed on.")] = "not stated",
    num_params: Annotated[int | None, typer.Option(min=1, help="Parameters of the model.")] = None,
    multiply_adds: Annotated[int | None, typer.Option(min=1, help="Multiply-adds of the model for one face.")] = None,
    latency_ms: Annotated[float | None, typer.Option(help="Time for one face, ms.")] = None,
    source: Annotated[str, typer.Option(help="Paper or repository that the predictions come from.")] = "",
    leaderboard: Leaderboard = "",
) -> None:
    """Score predictions of any system with our ground truth and add them. Evaluations of a test split are counted.

    Example: rcn-search leaderboard add spiga.json --method SPIGA --data data/300w --split full --normalizer outer-eye
    """
    from rcn_search.evaluation.protocol import parse_normalizer
    from rcn_search.leaderboard.external import ModelFacts, add_predictions

    added = add_predictions(
        predictions,
        data,
        split,
        leaderboard=_resolve(leaderboard),
        method=method,
        file_format=format,
        normalizers=[parse_normalizer(name) for name in normalizer or ()],
        pixel_offset=pixel_offset,
        model=ModelFacts(
            hardware=hardware,
            num_params=num_params,
            multiply_adds=multiply_adds,
            latency_ms=latency_ms,
            source=source or None,
        ),
    )
    for warning in added.warnings:
        warn(warning)
    console.print(score_table(added.scores))
    _print_test_evaluations(added.num_test_evaluations)
    for uri in added.entry_uris:
        print_text(f"→ {uri}")


@command
def rescore_command(
    entries: Annotated[list[str] | None, typer.Argument(help="Ids of entries, or names of methods.")] = None,
    all_entries: Annotated[bool, typer.Option("--all", help="All entries of the leaderboard.")] = False,
    normalizer: Annotated[
        str,
        typer.Option(
            help="Score at sub-pixel resolution with this normalizer: eye-centers, outer-eye, pupils, box or diagonal."
        ),
    ] = "",
    protocol: Annotated[str, typer.Option(help="Protocol: rcn2016, subpixel, …; by default the entry's own.")] = "",
    predictions: Annotated[
        list[str] | None,
        typer.Option(metavar="URI", help="Prediction file, or folder of such files, to search. May be repeated."),
    ] = None,
    leaderboard: Leaderboard = "",
) -> None:
    """Score stored predictions again: under another protocol, or with fields that older entries lack.

    Example: rcn-search leaderboard rescore --all --normalizer outer-eye
    """
    from rcn_search.evaluation.protocol import parse_normalizer
    from rcn_search.leaderboard.lookup import find_entries, hash_prediction_files, load_current_entries
    from rcn_search.leaderboard.rescore import rescore

    uri = _resolve(leaderboard)
    current = load_current_entries(uri)
    if all_entries == bool(entries):
        raise RcnSearchError("name the entries to score again, or give --all")
    if normalizer and protocol:
        raise RcnSearchError("--normalizer applies to the protocol subpixel only; give it or --protocol")
    chosen = {key: entry for name in entries or () for key, entry in find_entries(current, name).items()}
    results = rescore(
        uri,
        current,
        current if all_entries else chosen,
        protocol=protocol or None,
        normalizer=parse_normalizer(normalizer) if normalizer else None,
        predictions=hash_prediction_files(predictions or ()),
    )
    for result in results:
        print_text(f"→ {result.uri}" if result.uri else f"{result.entry_id} {result.reason}")
    num_added = sum(bool(result.uri) for result in results)
    print_text(f"{num_added} of {len(results)} entries scored again")
    if not num_added:
        raise typer.Exit(1)


@command
def verify_command(
    entry: EntryOrMethod,
    checkpoint: Annotated[str, typer.Option(help="best.safetensors that the entry is said to come from.")],
    data: DataUri,
    predictions: Annotated[str, typer.Option(metavar="URI", help="Prediction file to write.")] = "verified.parquet",
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest accepted difference of the mean errors, in percentage points.")
    ] = 0.005,
    decoder: DecoderOption = None,
    tta: TtaOption = None,
    denoiser: Denoiser = "",
    leaderboard: Leaderboard = "",
    device: Device = "auto",
) -> None:
    """Evaluate a checkpoint again and fail if it differs from its entry. Evaluations of a test split are counted.

    Decoder and test-time augmentation are those of the entry. Entries of schema version 1 do not record them.

    Example: rcn-search leaderboard verify ENTRY --checkpoint runs/rcn6/best.safetensors --data data/mtfl
    """
    from rcn_search.data.dataset import open_dataset
    from rcn_search.inference.config import InferenceConfig
    from rcn_search.inference.predictor import load
    from rcn_search.leaderboard.lookup import find_entries, load_current_entries
    from rcn_search.leaderboard.verify import verify

    uri = _resolve(leaderboard)
    matches = find_entries(load_current_entries(uri), entry)
    if len(matches) > 1:
        raise RcnSearchError(f"{entry!r} has {len(matches)} entries; name one of them: {', '.join(matches)}")
    (recorded,) = matches.values()
    inference = InferenceConfig.from_record(
        recorded.made_with, decoder=decoder, tta=tta, denoiser_uri=denoiser or None, device=device
    )
    with progress("evaluating", "faces") as on_images:
        result = verify(
            uri,
            recorded,
            load(checkpoint, inference),
            open_dataset(data),
            predictions_uri=predictions,
            tolerance_pct=tolerance,
            on_images=on_images,
        )
    _print_test_evaluations(result.num_test_evaluations)
    if worst := result.worst_image:
        print_text(f"largest change of one image: {worst[1]:.4f} percentage points, {worst[0]}")
    if result.problems:
        raise RcnSearchError("; ".join(["not verified", *result.problems]))
    print_text(f"verified: {result.error_pct:.4f} % now, {recorded.error_pct:.4f} % in the entry")


@command
def pack_command(leaderboard: Leaderboard = "") -> None:
    """Pack the many small objects of a leaderboard into a few files. Nothing is lost; entries can be added meanwhile.

    Packed and loose entries are read alike. Pack before you commit a leaderboard to git, or when it has thousands of
    entries on object storage.

    Example: rcn-search leaderboard pack --leaderboard s3://BUCKET/leaderboard
    """
    from rcn_search.leaderboard.packing import pack

    with progress("packing", "objects") as on_progress:
        packed = pack(_resolve(leaderboard), on_progress)
    summary = f"{packed.num_objects:,} objects packed; the leaderboard has {packed.num_packs} packs"
    print_text(summary if packed.num_objects else "nothing to pack")


def _resolve(named: str) -> str:
    from rcn_search.leaderboard.location import require_leaderboard, resolve_leaderboard

    return require_leaderboard(resolve_leaderboard(named))


def _print_test_evaluations(num: int | None) -> None:
    if num is not None:
        print_text(f"test evaluation no. {num} of this split")
