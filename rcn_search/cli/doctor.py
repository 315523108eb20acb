"""``rcn-search doctor``: what would keep a search from running, and what to do about it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.text import Text

from rcn_search.cli.console import EXIT_ERROR, command, console

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


@command
def doctor_command(
    data: Annotated[str, typer.Option(help="Data set to look at.")] = "",
    study: Annotated[str, typer.Option(help="Folder or URI that is to hold a study.")] = "",
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Ray cluster, or auto for this machine's; RAY_ADDRESS by default.")
    ] = "",
) -> None:
    """Look at Ray, GPUs, storage, clocks, versions, disks and limits; say what is wrong and what to do. Mends nothing.

    Exit code 1 if something would keep a search from running.

    Of a cluster, it is to be run on one of its machines, or as a job: ray job submit -- rcn-search doctor.

    Example: rcn-search doctor --data s3://faces/mtfl --study s3://studies/rcn --address auto
    """
    from rcn_search.doctor.checks import run_checks

    states: list[str] = []
    for finding in run_checks(data=data, study=study, address=address):
        states.append(finding.state)
        line = Text.assemble((f"{finding.state:<8}", _STYLES[finding.state]), f" {finding.topic}: {finding.message}")
        console.print(line, soft_wrap=True, highlight=False)
        if finding.remedy:
            console.print(Text(f"{'':8} → {finding.remedy}", style="bold"), soft_wrap=True, highlight=False)
    problems, warnings = states.count("problem"), states.count("warning")
    console.print(f"{len(states)} checks: {problems} problems, {warnings} warnings", highlight=False)
    if problems:
        sys.exit(EXIT_ERROR)
