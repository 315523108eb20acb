"""Command line ``rcn-search``: all commands, of which each has its own module.

Torch, Ray and Matplotlib take seconds to import. Commands import them only when they run, so that ``--help`` is fast; a
command that is called by its name is the only one whose module is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any

import typer

from rcn_search import __version__
from rcn_search.cli.console import console, prepare_output

# Name of a command to its module, and to the function or group of commands there. In the order of --help.
COMMANDS = {
    "data": "rcn_search.cli.data:data_app",
    "figures": "rcn_search.cli.figures:figures_app",
    "leaderboard": "rcn_search.cli.leaderboard:leaderboard_app",
    "schema": "rcn_search.cli.schema:schema_app",
    "study": "rcn_search.cli.study:study_app",
    "weights": "rcn_search.cli.weights:weights_app",
    "train": "rcn_search.cli.train:train_command",
    "tune": "rcn_search.cli.tune:tune_command",
    "evaluate": "rcn_search.cli.evaluate:evaluate_command",
    "predict": "rcn_search.cli.predict:predict_command",
    "demo": "rcn_search.cli.demo:demo_command",
    "export": "rcn_search.cli.export:export_command",
    "doctor": "rcn_search.cli.doctor:doctor_command",
    "reproduce": "rcn_search.cli.reproduce:reproduce_command",
    "simulate": "rcn_search.cli.simulate:simulate_command",
}


def _version(wanted: bool) -> None:
    if wanted:
        console.print(__version__)
        raise typer.Exit


def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Declare the options of the program itself."""


def build_app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """Build the program with some of its commands."""
    program = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        help="Search, train, evaluate and compare facial keypoint models.",
    )
    program.callback()(main_options)
    for name in names:
        module, _, attribute = COMMANDS[name].partition(":")
        command = getattr(import_module(module), attribute)
        if isinstance(command, typer.Typer):
            program.add_typer(command, name=name)
        else:
            program.command(name)(command)
    return program


def __getattr__(name: str) -> Any:
    """Build ``app``, the program with all commands, when it is first used."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["app"] = build_app()
    return globals()["app"]


def main() -> None:
    """Run the command line; entry point of the package."""
    prepare_output()
    called = sys.argv[1:2]
    build_app(called if called and called[0] in COMMANDS else COMMANDS)()
