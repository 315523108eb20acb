"""``rcn-search space …``: look at what a study would search before it is started."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated

import typer

from rcn_search.cli.console import command, console, progress

_SHOWN_AFTER_S = 2.0

space_app = typer.Typer(no_args_is_help=True, help="Search spaces: look before you search.")


@space_app.callback()
def _space() -> None:
    """Search spaces: look before you search."""


@space_app.command("check")
@command
def check(
    space_uri: Annotated[str, typer.Argument(metavar="SPACE.yaml", help="What to search; see search_spaces/.")],
    data: Annotated[str, typer.Option(help="Data set, instead of base.data.uri.")] = "",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the study, as in budget.trials=3.")
    ] = None,
    settings: Annotated[int, typer.Option(min=1, help="How many to draw.")] = 1_000,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds, other settings.")] = 0,
) -> None:
    """Draw 1,000 settings, build the network of each and show what they cost and how often each branch is taken.

    Example: rcn-search space check search_spaces/rcn.yaml --data data/mtfl
    """
    from rcn_search.study.loading import load_study_config
    from rcn_search.study.objectives import num_points
    from rcn_search.study_report.space_preview import preview_space, print_preview

    space = load_study_config(space_uri, overrides=overrides or (), data_uri=data)
    if space.runs:
        raise ValueError(f"{space_uri} is a study of rows: nothing is drawn in it")
    uri = space.train_config({}).data.uri
    try:
        points = num_points(uri)
    except (OSError, ValueError):
        points = 5
        console.print(f"there is no data set at {uri}: counted for {points} points", style="yellow", soft_wrap=True)
    with ExitStack() as stack:
        report = preview_space(
            space, num_points=points, num_settings=settings, seed=seed, on_setting=_late_progress(stack)
        )
    print_preview(console, space, report)


def _late_progress(stack: ExitStack) -> Callable[[int, int], None]:
    """A bar that comes up only when it takes long enough to want one."""
    started, bar = time.monotonic(), None

    def on_setting(done: int, total: int) -> None:
        nonlocal bar
        if bar is None and time.monotonic() - started > _SHOWN_AFTER_S:
            bar = stack.enter_context(progress("drawing", "settings"))
        if bar is not None:
            bar(done, total)

    return on_setting
