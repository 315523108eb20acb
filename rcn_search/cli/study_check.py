"""``rcn-search study check``: what a study file would search, before the search is started."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated

import typer

from rcn_search.cli.console import command, console, progress
from rcn_search.cli.options import StudyOverrides
from rcn_search.errors import RcnSearchError

_DEFAULT_POINTS = 5
_PROGRESS_AFTER_S = 2.0


@command
def check_command(
    study_file: Annotated[str, typer.Argument(metavar="STUDY.yaml", help="Study file of a search.")],
    data: Annotated[str, typer.Option(metavar="URI", help="Data set, in place of base.data.uri.")] = "",
    overrides: StudyOverrides = None,
    settings: Annotated[int, typer.Option(min=1, help="Number of settings to draw.")] = 1_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
) -> None:
    """Check a study file: draw 1,000 settings, build their networks, and show the costs and how often keys are drawn.

    Example: rcn-search study check search_spaces/rcn.yaml --data data/mtfl
    """
    from rcn_search.study.loading import load_study_config
    from rcn_search.study.objectives import num_points
    from rcn_search.study_report.space_preview import preview_space, print_preview

    config = load_study_config(study_file, overrides=overrides or (), data_uri=data)
    if config.runs:
        raise RcnSearchError(f"{study_file} is a fixed-run study, in which nothing is drawn; its runs are all legal")
    uri = config.base_config.data.uri
    try:
        points = num_points(uri)
    except (OSError, RcnSearchError):
        points = _DEFAULT_POINTS
        console.print(f"no data set at {uri}: networks are built for {points} points", style="yellow", soft_wrap=True)
    with ExitStack() as stack:
        preview = preview_space(
            config, num_points=points, num_settings=settings, seed=seed, on_setting=_late_progress(stack)
        )
    print_preview(console, config, preview)


def _late_progress(stack: ExitStack) -> Callable[[int, int], None]:
    """Make a progress bar that appears only once the work has taken a while."""
    started, bar = time.monotonic(), None

    def on_setting(done: int, total: int) -> None:
        nonlocal bar
        if bar is None and time.monotonic() - started > _PROGRESS_AFTER_S:
            bar = stack.enter_context(progress("drawing", "settings"))
        if bar is not None:
            bar(done, total)

    return on_setting
