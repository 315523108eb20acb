"""``rcn-search doctor``: find what would keep a search from running, and say what to do about it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.text import Text

from rcn_search.cli.console import EXIT_ERROR, command, console

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


@command
def doctor_command(
    data: Annotated[str, typer.Option(metavar="URI", help="Data set to check: a folder or URI.")] = "",
    study: Annotated[str, typer.Option(metavar="URI", help="Study to check: a folder or URI, which may be new.")] = "",
    address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT", help="Ray cluster to check, or auto for that of this machine; RAY_ADDRESS by default."
        ),
    ] = "",
) -> None:
    """Check packages, cores, memory, disks, GPUs, storage, clocks and the Ray cluster before a search starts.

    Prints one line per check and what to do about each problem. Makes no changes. Exit code 1 if a search would fail.

    To check a cluster, run it on one of its machines, or as a job: ray job submit -- rcn-search doctor

    Example: rcn-search doctor --data s3://faces/mtfl --study s3://studies/rcn --address auto
    """
    from rcn_search.doctor.checks import run_checks

    states: list[str] = []
    for result in run_checks(data=data, study=study, address=address):
        states.append(result.state)
        line = Text.assemble((f"{result.state:<8}", _STYLES[result.state]), f" {result.topic}: {result.message}")
        console.print(line, soft_wrap=True, highlight=False)
        if result.remedy:
            console.print(Text(f"{'':8} → {result.remedy}", style="bold"), soft_wrap=True, highlight=False)
    problems, warnings = states.count("problem"), states.count("warning")
    console.print(f"{len(states)} checks: {problems} problems, {warnings} warnings", highlight=False)
    if problems:
        sys.exit(EXIT_ERROR)
