"""``rcn-search leaderboard html`` and ``serve``: the leaderboard as pages, in a folder or on this machine's own port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from rcn_search.cli.console import command, console, errors
from rcn_search.cli.options import Leaderboard

if TYPE_CHECKING:
    from rcn_search.leaderboard.site.faces import FaceSource

Runs = Annotated[
    list[str] | None, typer.Option(help="A run, or a folder of runs, whose learning curves are shown; may stand often.")
]
DataUri = Annotated[
    str,
    typer.Option("--faces", metavar="DATA", help="Show the worst and median faces of this data set. Mind its licence."),
]
Predictions = Annotated[
    list[str] | None, typer.Option(help="For --faces: prediction files, or folders of them; may stand often.")
]

# Numpy and Jinja take a while to import, so each command imports what it needs.


@command
def html_command(
    out: Annotated[str, typer.Option(help="Folder for the site; a new one, an empty one, or that of a site.")] = "site",
    runs: Runs = None,
    faces: DataUri = "",
    predictions: Predictions = None,
    leaderboard: Leaderboard = "",
) -> None:
    """Write the leaderboard as a static site that asks no other host.

    Example: rcn-search leaderboard html --out site
    """
    from pathlib import Path

    from rcn_search.leaderboard.location import default_leaderboard
    from rcn_search.leaderboard.site.build import Site
    from rcn_search.leaderboard.site.entries import read_histories
    from rcn_search.leaderboard.table import build_leaderboard

    shown = build_leaderboard(leaderboard or default_leaderboard())
    site = Site(Path(out), histories=read_histories(runs or []), faces=_faces(faces, predictions or []))
    num_pages = site.write(shown)
    for problem in shown.problems:
        errors.print(Text(f"warning: {problem}", style="yellow"), soft_wrap=True)
    console.print(Text(f"{num_pages:,} pages → {Path(out) / 'index.html'}"), soft_wrap=True, highlight=False)


@command
def serve_command(
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0: one that is free.")] = 8008,
    runs: Runs = None,
    faces: DataUri = "",
    predictions: Predictions = None,
    leaderboard: Leaderboard = "",
) -> None:
    """Show the leaderboard in a browser; pages load themselves again as a search adds to it. Ctrl-C ends it.

    Example: rcn-search leaderboard serve --leaderboard s3://bucket/leaderboard
    """
    import threading
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from rcn_search.leaderboard.location import default_leaderboard
    from rcn_search.leaderboard.site.build import Site
    from rcn_search.leaderboard.site.entries import read_histories
    from rcn_search.leaderboard.site.serve import leaderboard_version, rebuild_on_change, serve_folder
    from rcn_search.leaderboard.table import build_leaderboard

    uri = leaderboard or default_leaderboard()
    with TemporaryDirectory(prefix="rcn-search-leaderboard-") as folder:
        pictures = _faces(faces, predictions or [])
        site = Site(Path(folder), histories=read_histories(runs or []), faces=pictures, live=True)
        before = leaderboard_version(uri)
        site.write(build_leaderboard(uri))
        with serve_folder(site.folder, port) as address:
            console.print(Text(f"{uri} at {address} until Ctrl-C"), soft_wrap=True, highlight=False)
            try:
                rebuild_on_change(site, uri, shown=before, stop=threading.Event(), on_problem=_warn)
            except KeyboardInterrupt:
                console.print("ended")


def _faces(data_uri: str, predictions: list[str]) -> FaceSource | None:
    if not data_uri:
        if predictions:
            raise ValueError("--predictions are those of --faces DATA; name the data set too")
        return None
    from rcn_search.leaderboard.site.faces import FaceSource

    return FaceSource.from_uris(data_uri, predictions)


def _warn(line: str) -> None:
    errors.print(Text(f"warning: {line}", style="yellow"), soft_wrap=True)
