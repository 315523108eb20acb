"""``rcn-search leaderboard rescore``, ``verify`` and ``pack``: what changes a leaderboard, beside ``add``."""

from __future__ import annotations

from typing import Annotated

import typer

from rcn_search.cli.console import command, print_text, progress
from rcn_search.cli.options import (
    AllowTarget,
    DataUri,
    DecoderOption,
    Denoiser,
    Device,
    EntryOrMethod,
    Leaderboard,
    TtaOption,
)
from rcn_search.errors import RcnSearchError


@command
def rescore_command(
    entries: Annotated[
        list[str] | None, typer.Argument(metavar="[ENTRY…]", help="Ids of entries, or names of methods.")
    ] = None,
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

    uri = _resolve_existing(leaderboard)
    current = load_current_entries(uri)
    if all_entries == bool(entries):
        raise RcnSearchError("name the entries to score again, or give --all")
    if normalizer and protocol:
        raise RcnSearchError("--normalizer applies to the protocol subpixel only; give it or --protocol")
    others = sorted({entry.protocol.normalizer for entry in current.values()})
    chosen = {key: entry for name in entries or () for key, entry in find_entries(current, name).items()}
    results = rescore(
        uri,
        current,
        current if all_entries else chosen,
        protocol=protocol or None,
        normalizer=parse_normalizer(normalizer, others) if normalizer else None,
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
    allow_target: AllowTarget = None,
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

    uri = _resolve_existing(leaderboard)
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
    print_test_evaluations(result.num_test_evaluations)
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
        packed = pack(_resolve_existing(leaderboard), on_progress)
    summary = f"{packed.num_objects:,} objects packed; the leaderboard has {packed.num_packs} packs"
    print_text(summary if packed.num_objects else "nothing to pack")


def resolve_writable(named: str) -> str:
    """Find the leaderboard that new results go to; `RcnSearchError` if there is none."""
    from rcn_search.leaderboard.location import require_leaderboard, resolve_leaderboard

    return require_leaderboard(resolve_leaderboard(named))


def _resolve_existing(named: str) -> str:
    from rcn_search.leaderboard.location import existing_leaderboard

    return existing_leaderboard(named)


def print_test_evaluations(num: int | None) -> None:
    """Print which test evaluation of its split this is; nothing for other splits than test splits."""
    if num is not None:
        print_text(f"test evaluation no. {num} of this split")
