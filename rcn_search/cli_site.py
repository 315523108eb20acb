"""``rcn-search leaderboard html`` and ``serve``: the board as pages, in a folder or on this machine's own port."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from rcn_search.terminal import command, console, errors

Board = Annotated[str, typer.Option(help="Folder or URI of the board; ./leaderboard by default.")]
Runs = Annotated[
    list[str] | None, typer.Option(help="A run, or a folder of runs, whose learning curves are shown; may stand often.")
]

# Numpy and Jinja take a while to import, so each command imports what it needs.


@command
def html_command(
    out: Annotated[str, typer.Option(help="Folder for the site; a new one, an empty one, or that of a site.")] = "site",
    runs: Runs = None,
    board: Board = "",
) -> None:
    """Write the board as a static site that asks no other host.

    Example: rcn-search leaderboard html --out site
    """
    from pathlib import Path

    from rcn_search.leaderboard.board import build_board, default_board
    from rcn_search.leaderboard.site.build import Site
    from rcn_search.leaderboard.site.entries import read_histories

    shown = build_board(board or default_board())
    num_pages = Site(Path(out), histories=read_histories(runs or [])).write(shown)
    for problem in shown.problems:
        errors.print(Text(f"warning: {problem}", style="yellow"), soft_wrap=True)
    console.print(Text(f"{num_pages:,} pages → {Path(out) / 'index.html'}"), soft_wrap=True, highlight=False)
