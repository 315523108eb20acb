"""``rcn-search leaderboard build-site`` and ``serve``: the leaderboard as web pages."""

from __future__ import annotations

from typing import Annotated

import typer

from rcn_search.cli.console import command, console, print_text, warn
from rcn_search.cli.options import Leaderboard

Runs = Annotated[
    list[str] | None,
    typer.Option(metavar="URI", help="Run, or folder of runs, whose learning curves are shown. May be repeated."),
]
FaceData = Annotated[
    str,
    typer.Option(
        "--faces", metavar="DATA", help="Show the worst and median faces of this data set. Check its license first."
    ),
]
Predictions = Annotated[
    list[str] | None,
    typer.Option(metavar="URI", help="For --faces: prediction file, or folder of such files. May be repeated."),
]


@command
def build_site_command(
    out: Annotated[
        str, typer.Option(metavar="FOLDER", help="Folder to write: new, empty, or a site written before.")
    ] = "site",
    runs: Runs = None,
    faces: FaceData = "",
    predictions: Predictions = None,
    leaderboard: Leaderboard = "",
) -> None:
    """Write the leaderboard as a static site that loads nothing from other hosts.

    Example: rcn-search leaderboard build-site --out site
    """
    from pathlib import Path

    from rcn_search.leaderboard.location import default_leaderboard
    from rcn_search.leaderboard.site.build import Site
    from rcn_search.leaderboard.site.entries import read_histories
    from rcn_search.leaderboard.site.faces import FaceSource
    from rcn_search.leaderboard.table import build_leaderboard

    shown = build_leaderboard(leaderboard or default_leaderboard())
    face_source = FaceSource.from_uris(faces, predictions or [])
    num_pages = Site(Path(out), histories=read_histories(runs or []), faces=face_source).write(shown)
    for problem in shown.problems:
        warn(problem)
    print_text(f"{num_pages:,} pages → {Path(out) / 'index.html'}")


@command
def serve_command(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0: any free port.")] = 8008,
    runs: Runs = None,
    faces: FaceData = "",
    predictions: Predictions = None,
    leaderboard: Leaderboard = "",
) -> None:
    """Show the leaderboard in a browser of this machine. Pages reload when entries are added. Ctrl-C ends it.

    Example: rcn-search leaderboard serve --leaderboard s3://bucket/leaderboard
    """
    import threading
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from rcn_search.leaderboard.location import default_leaderboard
    from rcn_search.leaderboard.site.build import Site
    from rcn_search.leaderboard.site.entries import read_histories
    from rcn_search.leaderboard.site.faces import FaceSource
    from rcn_search.leaderboard.site.serve import leaderboard_version, rebuild_on_change, serve_folder
    from rcn_search.leaderboard.table import build_leaderboard

    uri = leaderboard or default_leaderboard()
    with TemporaryDirectory(prefix="rcn-search-leaderboard-") as folder:
        face_source = FaceSource.from_uris(faces, predictions or [])
        site = Site(Path(folder), histories=read_histories(runs or []), faces=face_source, live=True)
        written = leaderboard_version(uri)
        site.write(build_leaderboard(uri))
        try:
            with serve_folder(site.folder, port) as address:
                print_text(f"{uri} at {address} until Ctrl-C")
                rebuild_on_change(site, uri, written=written, stop=threading.Event(), on_problem=warn)
        except KeyboardInterrupt:  # at any time from when pages can be read, also while one is answered
            console.print("ended")
