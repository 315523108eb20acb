"""Command line ``rcn-search``: all commands, of which each has its own module.

Torch, Ray and Matplotlib take seconds to import. Commands import them only when they run, so that ``--help`` is fast.
"""

from __future__ import annotations

from typing import Annotated

import typer

from rcn_search import __version__
from rcn_search.cli.console import console, prepare_output
from rcn_search.cli.data import data_app
from rcn_search.cli.demo import demo_command
from rcn_search.cli.doctor import doctor_command
from rcn_search.cli.evaluate import evaluate_command
from rcn_search.cli.export import export_command
from rcn_search.cli.figures import figures_app
from rcn_search.cli.leaderboard import leaderboard_app
from rcn_search.cli.predict import predict_command
from rcn_search.cli.reproduce import reproduce_command
from rcn_search.cli.schema import schema_app
from rcn_search.cli.simulate import simulate_command
from rcn_search.cli.study import study_app
from rcn_search.cli.train import train_command
from rcn_search.cli.tune import tune_command
from rcn_search.cli.weights import weights_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="Search, train, evaluate and compare facial keypoint models.",
)
app.add_typer(data_app, name="data")
app.add_typer(figures_app, name="figures")
app.add_typer(leaderboard_app, name="leaderboard")
app.add_typer(schema_app, name="schema")
app.add_typer(study_app, name="study")
app.add_typer(weights_app, name="weights")
app.command("train")(train_command)
app.command("tune")(tune_command)
app.command("evaluate")(evaluate_command)
app.command("predict")(predict_command)
app.command("demo")(demo_command)
app.command("export")(export_command)
app.command("doctor")(doctor_command)
app.command("reproduce")(reproduce_command)
app.command("simulate")(simulate_command)


def _version(wanted: bool) -> None:
    if wanted:
        console.print(__version__)
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Declare the options of the program itself."""


def main() -> None:
    """Run the command line; entry point of the package."""
    prepare_output()
    app()
