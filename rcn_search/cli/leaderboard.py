"""``rcn-search leaderboard …``: show the leaderboard, add to it, compare, score again, verify, draw."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.text import Text

from rcn_search.cli.console import command, console, errors, progress, score_table
from rcn_search.cli.options import DecoderOption, Denoiser, Device, Leaderboard, TtaOption
from rcn_search.cli.site import html_command, serve_command

leaderboard_app = typer.Typer(invoke_without_command=True)
leaderboard_app.command("html")(html_command)
leaderboard_app.command("serve")(serve_command)

Named = Annotated[str, typer.Argument(help="Id of an entry, or name of a method.")]

# Numpy, torch and matplotlib take a while to import, so each command imports what it needs.


@leaderboard_app.callback()
@command
def show(
    context: typer.Context,
    format: Annotated[
        Literal["table", "markdown", "latex", "csv", "json"], typer.Option(help="How to print it.")
    ] = "table",
    leaderboard: Leaderboard = "",
    dataset: Annotated[str, typer.Option(help="Only this data set, as in aflw.")] = "",
    top: Annotated[int, typer.Option(min=0, help="Rows of a table in the terminal; 0: all.")] = 25,
    published: Annotated[
        bool, typer.Option("--published", help="In the terminal also tables of published rows only.")
    ] = False,
    by: Annotated[
        str, typer.Option(help="Errors by class of an attribute, as in pose or glasses; not as csv, json.")
    ] = "",
) -> None:
    """The leaderboard: our entries beside the published rows, ranked within one protocol. Commands add, compare, draw.

    Example: rcn-search leaderboard --dataset aflw
    """
    if context.invoked_subcommand:
        return
    from rcn_search.leaderboard.render import print_leaderboard, render, select_attribute
    from rcn_search.leaderboard.table import build_leaderboard
    from rcn_search.storage.gc_pause import without_collector

    if by and format in ("csv", "json"):
        raise ValueError(f"--by is for tables to read; leave it out with --format {format}")
    with without_collector():
        shown = build_leaderboard(_board(leaderboard))
        if dataset:
            known = sorted({table.dataset for table in shown.tables})
            if dataset not in known:
                raise ValueError(f"the leaderboard has no data set {dataset!r}; it has {', '.join(known) or 'none'}")
            shown = shown.select(dataset)
        if by:
            shown = select_attribute(shown, by)
        if format == "table":
            measured = shown.only_measured()
            whole = shown if published or dataset or not measured.tables else measured
            print_leaderboard(whole, console, limit=top or None, by_attribute=by)
            if num_hidden := len(shown.tables) - len(whole.tables):
                _say(f"… and {num_hidden} tables of published rows only (--published, or --dataset)", "dim")
            return
        typer.echo(render(shown, format, by_attribute=by), nl=False)
    for problem in shown.problems:
        errors.print(f"warning: {problem}", style="yellow", markup=False, soft_wrap=True)


@leaderboard_app.command()
@command
def compare(first: Named, second: Named, leaderboard: Leaderboard = "") -> None:
    """The difference of two rows, image by image, with its 95 % interval and p; refused across protocols.

    Example: rcn-search leaderboard compare "RCN 6 branches" "SumNet 6 branches"
    """
    from rcn_search.leaderboard.compare import compare
    from rcn_search.leaderboard.lookup import load_current_entries

    uri = _board(leaderboard)
    for verdict in compare(uri, load_current_entries(uri), first, second):
        protocol = verdict.protocol
        _say(f"{protocol.dataset} {protocol.subset}, {verdict.num_images:,} images · {protocol}", style="bold")
        for method, error_pct, num in zip(verdict.methods, verdict.errors_pct, verdict.num_seeds, strict=True):
            _say(f"  {error_pct:6.2f} %  {method}{f' ({num} seeds)' if num > 1 else ''}")
        _say(f"  {verdict}")


@leaderboard_app.command()
@command
def add(
    predictions: Annotated[str, typer.Argument(help="Our Parquet, CSV, SPIGA-style JSON or COCO keypoints.")],
    method: Annotated[str, typer.Option(help="Name on the leaderboard.")],
    data: Annotated[str, typer.Option(help="Data set whose truth counts.")],
    split: Annotated[str, typer.Option(help="Which images.")],
    format: Annotated[
        Literal["csv", "spiga", "coco"] | None, typer.Option(help="Found out by default; .parquet is ours.")
    ] = None,
    normalizer: Annotated[list[str] | None, typer.Option(help="Score by this too; may stand more than once.")] = None,
    shift: Annotated[
        float,
        typer.Option(
            help="Added to each x and y. Here pixel i covers i to i + 1: 0.5 where the middle of the first pixel is 0, "
            "-0.5 where it is 1."
        ),
    ] = 0.0,
    hardware: Annotated[str, typer.Option(help="What it was computed on.")] = "not stated",
    params: Annotated[int | None, typer.Option(min=1, help="Parameters of the model.")] = None,
    multiply_adds: Annotated[int | None, typer.Option(min=1, help="Of the model, for one face.")] = None,
    latency_ms: Annotated[float | None, typer.Option(help="Of one face.")] = None,
    source: Annotated[str, typer.Option(help="Where the predictions come from: a paper, a repository.")] = "",
    leaderboard: Leaderboard = "",
) -> None:
    """Score predictions of any system with our truth and our code, and enter them. Looks at a test split are counted.

    Example: rcn-search leaderboard add spiga.json --method SPIGA --data data/300w --split full --normalizer outer-eye
    """
    from rcn_search.evaluation.protocol import parse_normalizer
    from rcn_search.leaderboard.external import add_predictions

    added = add_predictions(
        predictions,
        data,
        split,
        leaderboard=lambda: _board(leaderboard),
        method=method,
        file_format=format,
        normalizers=[parse_normalizer(each) for each in normalizer or ()],
        pixel_offset=shift,
        hardware=hardware,
        num_params=params,
        multiply_adds=multiply_adds,
        latency_ms=latency_ms,
        source=source or None,
    )
    for gap in added.warnings:
        errors.print(Text(f"warning: {gap}", style="yellow"), soft_wrap=True)
    console.print(score_table(added.scores))
    if added.num_test_evaluations is not None:
        _say(f"look number {added.num_test_evaluations} at this test split")
    for uri in added.entry_uris:
        _say(f"→ {uri}")


@leaderboard_app.command()
@command
def rescore(
    entries: Annotated[list[str] | None, typer.Argument(help="Ids of entries, or names of methods.")] = None,
    all_entries: Annotated[bool, typer.Option("--all", help="All entries of the leaderboard.")] = False,
    normalizer: Annotated[
        str, typer.Option(help="eye-centers, outer-eye, pupils, box or diagonal: what distances are divided by.")
    ] = "",
    protocol: Annotated[str, typer.Option(help="rcn2016, subpixel, …; the entry's own by default.")] = "",
    predictions: Annotated[
        list[str] | None, typer.Option(help="Prediction files, or folders of them, that entries were scored from.")
    ] = None,
    leaderboard: Leaderboard = "",
) -> None:
    """Score stored predictions again: under another protocol, or with all that older entries did not keep.

    Example: rcn-search leaderboard rescore --all --normalizer outer-eye
    """
    from rcn_search.evaluation.protocol import parse_normalizer
    from rcn_search.leaderboard.lookup import find_entries, hash_prediction_files, load_current_entries
    from rcn_search.leaderboard.rescore import rescore

    uri = _board(leaderboard)
    there = load_current_entries(uri)
    if all_entries == bool(entries):
        raise ValueError("name the entries to score again, or say --all")
    if normalizer and protocol:
        raise ValueError("--normalizer is that of subpixel; give it or --protocol")
    chosen = (
        there
        if all_entries
        else {key: each for name in entries or () for key, each in find_entries(there, name).items()}
    )
    results = rescore(
        uri,
        there,
        chosen,
        protocol=protocol or None,
        normalizer=parse_normalizer(normalizer) if normalizer else None,
        predictions=hash_prediction_files(predictions or ()),
    )
    for result in results:
        _say(f"→ {result.uri}" if result.uri else f"{result.entry_id} {result.reason}")
    num_added = sum(bool(result.uri) for result in results)
    _say(f"{num_added} of {len(results)} entries scored again")
    if not num_added:
        raise typer.Exit(1)


@leaderboard_app.command()
@command
def verify(
    entry: Named,
    checkpoint: Annotated[str, typer.Option(help="best.safetensors that the entry is said to come from.")],
    data: Annotated[str, typer.Option(help="Data set.")],
    predictions: Annotated[str, typer.Option(help="Where today's predictions go.")] = "verified.parquet",
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest difference of the mean error that is none, %.")
    ] = 0.005,
    decoder: DecoderOption = None,
    tta: TtaOption = None,
    denoiser: Denoiser = "",
    leaderboard: Leaderboard = "",
    device: Device = "auto",
) -> None:
    """Evaluate a checkpoint once more and fail if it is not what its entry says. Looks at a test split are counted.

    Example: rcn-search leaderboard verify ENTRY --checkpoint runs/rcn6/best.safetensors --data data/mtfl
    """
    from rcn_search.data.dataset import open_dataset
    from rcn_search.inference.config import InferenceConfig
    from rcn_search.inference.predictor import load
    from rcn_search.leaderboard.lookup import find_entries, load_current_entries
    from rcn_search.leaderboard.verify import verify

    uri = _board(leaderboard)
    found = find_entries(load_current_entries(uri), entry)
    if len(found) > 1:
        raise ValueError(f"{entry!r} has {len(found)} entries; name one of them: {', '.join(found)}")
    (named,) = found.values()
    inference = InferenceConfig.from_record(
        named.made_with, decoder=decoder, tta=tta, denoiser_uri=denoiser or None, device=device
    )
    with progress("evaluating", "faces") as on_images:
        result = verify(
            uri,
            named,
            load(checkpoint, inference),
            open_dataset(data),
            predictions_uri=predictions,
            tolerance_pct=tolerance,
            on_images=on_images,
        )
    if result.num_test_evaluations is not None:
        _say(f"look number {result.num_test_evaluations} at this test split")
    if result.worst_image:
        _say(f"largest change of one image: {result.worst_image[1]:.4f} points, {result.worst_image[0]}")
    if result.problems:
        raise ValueError("; ".join(["not verified", *result.problems]))
    _say(f"verified: {result.error_pct:.4f} % now, {named.error_pct:.4f} % on the leaderboard")


@leaderboard_app.command()
@command
def figure(
    kind: Annotated[
        Literal["ced", "bars", "keypoints"],
        typer.Argument(help="Cumulative errors, errors with intervals, or errors by keypoint on a mean face."),
    ],
    entries: Annotated[list[str], typer.Argument(help="Ids of entries, or names of methods.")],
    out: Annotated[str, typer.Option(help="Where it goes: .png, .svg or .pdf.")],
    protocol: Annotated[str, typer.Option(help="Which entries of the named methods.")] = "rcn2016",
    dataset: Annotated[str, typer.Option(help="The same, as in aflw; needed where a method is on several.")] = "",
    subset: Annotated[str, typer.Option(help="The same, as in test.")] = "",
    leaderboard: Leaderboard = "",
) -> None:
    """A picture for a paper, from entries of one protocol.

    Example: rcn-search leaderboard figure bars "RCN 6 branches" "SumNet 6 branches" --dataset aflw --out bars.pdf
    """
    from rcn_search.evaluation.figures.style import check_kind
    from rcn_search.leaderboard.figures import draw_bars, draw_ced, draw_keypoints
    from rcn_search.leaderboard.lookup import find_entries_under, load_current_entries

    check_kind(out)
    uri = _board(leaderboard)
    there = load_current_entries(uri)
    chosen = [
        entry
        for name in entries
        for entry in find_entries_under(there, name, protocol=protocol, dataset=dataset, subset=subset)
    ]
    if kind == "ced":
        draw_ced(uri, chosen, out)
    elif kind == "bars":
        draw_bars(chosen, out)
    else:
        draw_keypoints(chosen, out)
    _say(f"{len(chosen)} entries in {out}")


def _board(named: str) -> str:
    from rcn_search.leaderboard.location import default_leaderboard

    return named or default_leaderboard()


def _say(text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True, highlight=False)
