"""``rcn-search leaderboard``: show the leaderboard, add to it, compare, score again, verify, draw."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.text import Text

from rcn_search.cli.console import command, console, errors, progress, score_table
from rcn_search.cli.options import DataUri, DecoderOption, Denoiser, Device, Leaderboard, TtaOption
from rcn_search.cli.site import build_site_command, serve_command
from rcn_search.errors import RcnSearchError

leaderboard_app = typer.Typer(invoke_without_command=True)
leaderboard_app.command("build-site")(build_site_command)
leaderboard_app.command("serve")(serve_command)

EntryOrMethod = Annotated[str, typer.Argument(help="Id of an entry, or name of a method.")]

# NumPy, torch and Matplotlib take a while to import, so each command imports what it needs.


@leaderboard_app.callback()
@command
def show(
    context: typer.Context,
    format: Annotated[
        Literal["table", "markdown", "latex", "csv", "json"], typer.Option(help="Output format.")
    ] = "table",
    leaderboard: Leaderboard = "",
    dataset: Annotated[str, typer.Option(help="Only this data set, as in aflw.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Largest number of rows of a printed table; 0: all.")] = 25,
    include_published: Annotated[
        bool, typer.Option("--include-published", help="Also print tables that have published rows only.")
    ] = False,
    by_attribute: Annotated[
        str,
        typer.Option(
            metavar="ATTRIBUTE", help="Show errors by class of an attribute, as in pose or glasses; not with csv, json."
        ),
    ] = "",
) -> None:
    """Show entries beside published results, ranked within one protocol. Subcommands add, compare, verify and draw.

    Example: rcn-search leaderboard --dataset aflw
    """
    if context.invoked_subcommand:
        return
    from rcn_search.leaderboard.render import print_leaderboard, render, select_attribute
    from rcn_search.leaderboard.table import build_leaderboard
    from rcn_search.storage.gc_pause import gc_paused

    if by_attribute and format in ("csv", "json"):
        raise RcnSearchError(f"--by-attribute does not apply to --format {format}, which has all columns; leave it out")
    with gc_paused():
        shown = build_leaderboard(_to_read(leaderboard))
        if dataset:
            known = sorted({table.dataset for table in shown.tables})
            if dataset not in known:
                raise RcnSearchError(
                    f"the leaderboard has no data set {dataset!r}; it has {', '.join(known) or 'none'}"
                )
            shown = shown.select(dataset)
        if by_attribute:
            shown = select_attribute(shown, by_attribute)
        if format == "table":
            measured = shown.only_measured()
            printed = shown if include_published or dataset or not measured.tables else measured
            print_leaderboard(printed, console, limit=limit or None, by_attribute=by_attribute)
            if num_hidden := len(shown.tables) - len(printed.tables):
                _print(f"… and {num_hidden} tables of published rows only (--include-published, or --dataset)", "dim")
            return
        typer.echo(render(shown, format, by_attribute=by_attribute), nl=False)
    for problem in shown.problems:
        _warn(problem)


@leaderboard_app.command()
@command
def compare(first: EntryOrMethod, second: EntryOrMethod, leaderboard: Leaderboard = "") -> None:
    """Compare two rows image by image, with the 95 % interval of their difference; refused across protocols.

    Example: rcn-search leaderboard compare "RCN 6 branches" "SumNet 6 branches"
    """
    from rcn_search.leaderboard.compare import compare
    from rcn_search.leaderboard.lookup import load_current_entries

    uri = _to_read(leaderboard)
    for comparison in compare(uri, load_current_entries(uri), first, second):
        protocol = comparison.protocol
        _print(f"{protocol.dataset} {protocol.subset}, {comparison.num_images:,} images · {protocol}", style="bold")
        for method, error_pct, num in zip(comparison.methods, comparison.errors_pct, comparison.num_seeds, strict=True):
            _print(f"  {error_pct:6.2f} %  {method}{f' ({num} seeds)' if num > 1 else ''}")
        _print(f"  {comparison}")


@leaderboard_app.command()
@command
def add(
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
    from rcn_search.leaderboard.external import add_predictions

    added = add_predictions(
        predictions,
        data,
        split,
        leaderboard=_to_write(leaderboard),
        method=method,
        file_format=format,
        normalizers=[parse_normalizer(name) for name in normalizer or ()],
        pixel_offset=pixel_offset,
        hardware=hardware,
        num_params=num_params,
        multiply_adds=multiply_adds,
        latency_ms=latency_ms,
        source=source or None,
    )
    for warning in added.warnings:
        _warn(warning)
    console.print(score_table(added.scores))
    _print_test_evaluations(added.num_test_evaluations)
    for uri in added.entry_uris:
        _print(f"→ {uri}")


@leaderboard_app.command()
@command
def rescore(
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

    uri = _to_write(leaderboard)
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
        _print(f"→ {result.uri}" if result.uri else f"{result.entry_id} {result.reason}")
    num_added = sum(bool(result.uri) for result in results)
    _print(f"{num_added} of {len(results)} entries scored again")
    if not num_added:
        raise typer.Exit(1)


@leaderboard_app.command()
@command
def verify(
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

    uri = _to_write(leaderboard)
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
    if result.worst_image:
        _print(f"largest change of one image: {result.worst_image[1]:.4f} percentage points, {result.worst_image[0]}")
    if result.problems:
        raise RcnSearchError("; ".join(["not verified", *result.problems]))
    _print(f"verified: {result.error_pct:.4f} % now, {recorded.error_pct:.4f} % in the entry")


@leaderboard_app.command()
@command
def figure(
    kind: Annotated[
        Literal["ced", "bars", "keypoints"],
        typer.Argument(help="Cumulative errors, errors with intervals, or errors by keypoint on a mean face."),
    ],
    entries: Annotated[list[str], typer.Argument(help="Ids of entries, or names of methods.")],
    out: Annotated[str, typer.Option(help="Picture to write: .png, .svg or .pdf.")],
    protocol: Annotated[str, typer.Option(help="Protocol of the entries of the named methods.")] = "rcn2016",
    dataset: Annotated[
        str, typer.Option(help="Data set of the entries, as in aflw; needed if a method has entries on several.")
    ] = "",
    subset: Annotated[str, typer.Option(help="Subset of the data set, as in test.")] = "",
    leaderboard: Leaderboard = "",
) -> None:
    """Draw a picture for a paper from entries of one protocol.

    Example: rcn-search leaderboard figure bars "RCN 6 branches" "SumNet 6 branches" --dataset aflw --out bars.pdf
    """
    from rcn_search.evaluation.figures.style import check_format
    from rcn_search.leaderboard.figures import draw_bars, draw_ced, draw_keypoints
    from rcn_search.leaderboard.lookup import find_entries_under, load_current_entries

    check_format(out)
    uri = _to_read(leaderboard)
    current = load_current_entries(uri)
    chosen = [
        entry
        for name in entries
        for entry in find_entries_under(current, name, protocol=protocol, dataset=dataset, subset=subset)
    ]
    if kind == "ced":
        draw_ced(uri, chosen, out)
    elif kind == "bars":
        draw_bars(chosen, out)
    else:
        draw_keypoints(chosen, out)
    _print(f"{len(chosen)} entries → {out}")


def _to_read(named: str) -> str:
    from rcn_search.leaderboard.location import default_leaderboard

    return named or default_leaderboard()


def _to_write(named: str) -> str:
    from rcn_search.leaderboard.location import require_leaderboard, resolve_leaderboard

    return require_leaderboard(resolve_leaderboard(named))


def _print_test_evaluations(num: int | None) -> None:
    if num is not None:
        _print(f"test evaluation no. {num} of this split")


def _print(text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True, highlight=False)


def _warn(text: str) -> None:
    errors.print(Text(f"warning: {text}", style="yellow"), soft_wrap=True)
