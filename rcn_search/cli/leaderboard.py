"""``rcn-search leaderboard``: show the leaderboard, compare two rows, draw figures."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from rcn_search.cli.add import add_command
from rcn_search.cli.console import command, console, print_text, warn
from rcn_search.cli.entries import pack_command, rescore_command, verify_command
from rcn_search.cli.options import EntryOrMethod, Leaderboard
from rcn_search.cli.site import build_site_command, serve_command
from rcn_search.errors import RcnSearchError

leaderboard_app = typer.Typer(invoke_without_command=True)
leaderboard_app.command("add")(add_command)
leaderboard_app.command("rescore")(rescore_command)
leaderboard_app.command("verify")(verify_command)
leaderboard_app.command("pack")(pack_command)
leaderboard_app.command("build-site")(build_site_command)
leaderboard_app.command("serve")(serve_command)


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
    from rcn_search.leaderboard.render import print_leaderboard, select_attribute
    from rcn_search.leaderboard.render_text import render
    from rcn_search.leaderboard.table import build_leaderboard
    from rcn_search.machine import gc_paused

    if by_attribute and format in ("csv", "json"):
        raise RcnSearchError(f"--by-attribute does not apply to --format {format}, which has all columns; leave it out")
    with gc_paused():
        shown = build_leaderboard(_resolve(leaderboard))
        if dataset:
            known = ", ".join(sorted({table.dataset for table in shown.tables})) or "none"
            shown = shown.select(dataset)
            if not shown.tables:
                raise RcnSearchError(f"the leaderboard has no data set {dataset!r}; it has {known}")
        if by_attribute:
            shown = select_attribute(shown, by_attribute)
        if format == "table":
            measured = shown.only_measured()
            printed = shown if include_published or dataset or not measured.tables else measured
            print_leaderboard(printed, console, limit=limit or None, by_attribute=by_attribute)
            if num_hidden := len(shown.tables) - len(printed.tables):
                print_text(
                    f"… and {num_hidden} tables of published rows only (--include-published, or --dataset)", "dim"
                )
            return
        typer.echo(render(shown, format, by_attribute=by_attribute), nl=False)
    for problem in shown.problems:
        warn(problem)


@leaderboard_app.command()
@command
def compare(first: EntryOrMethod, second: EntryOrMethod, leaderboard: Leaderboard = "") -> None:
    """Compare two rows image by image, with the 95 % interval of their difference; refused across protocols.

    Example: rcn-search leaderboard compare "RCN 6 branches" "SumNet 6 branches"
    """
    from rcn_search.leaderboard.compare import compare
    from rcn_search.leaderboard.lookup import load_current_entries

    uri = _resolve(leaderboard)
    for comparison in compare(uri, load_current_entries(uri), first, second):
        protocol = comparison.protocol
        print_text(f"{protocol.dataset} {protocol.subset}, {comparison.num_images:,} images · {protocol}", style="bold")
        for method, error_pct, num in zip(comparison.methods, comparison.errors_pct, comparison.num_seeds, strict=True):
            print_text(f"  {error_pct:6.2f} %  {method}{f' ({num} seeds)' if num > 1 else ''}")
        print_text(f"  {comparison}")


@leaderboard_app.command()
@command
def figure(
    kind: Annotated[
        Literal["ced", "bars", "keypoints"],
        typer.Argument(
            metavar="KIND",
            help="ced: cumulative errors; bars: errors with intervals; keypoints: errors by keypoint on a mean face.",
        ),
    ],
    entries: Annotated[list[str], typer.Argument(metavar="ENTRY…", help="Ids of entries, or names of methods.")],
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
    uri = _resolve(leaderboard)
    current = load_current_entries(uri)
    chosen = [
        entry
        for name in entries
        for entry in find_entries_under(current, name, protocol=protocol, dataset=dataset, subset=subset)
    ]
    if kind == "ced":
        draw_ced(uri, chosen, out)
    else:
        (draw_bars if kind == "bars" else draw_keypoints)(chosen, out)
    print_text(f"{len(chosen)} entries → {out}")


def _resolve(named: str) -> str:
    from rcn_search.leaderboard.location import default_leaderboard

    return named or default_leaderboard()
