"""The command ``rcn-search``: parse, call, print.

Torch, Ray and Matplotlib take seconds to import: a command imports what it needs when it is run, so that ``--help`` is
there at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rcn_search import __version__, storage
from rcn_search.cli.console import command, console, progress, stop_on_signal
from rcn_search.cli.data import data_app
from rcn_search.cli.doctor import doctor_command
from rcn_search.cli.evaluate import evaluate_command
from rcn_search.cli.figures import figures_app
from rcn_search.cli.leaderboard import leaderboard_app
from rcn_search.cli.options import Overrides
from rcn_search.cli.reproduce import reproduce_command
from rcn_search.cli.simulate import simulate_command
from rcn_search.cli.study import study_app
from rcn_search.cli.tune import tune_command
from rcn_search.cluster.ray_job import check_outlives_job
from rcn_search.config.loading import load_train_config
from rcn_search.storage.preflight import preflight
from rcn_search.training.exit_status import BEST_NAME

if TYPE_CHECKING:
    from rcn_search.config.schema import TrainConfig
    from rcn_search.training.compute_probe import ComputeSettings
    from rcn_search.training.epoch_report import EpochReport

CURVE_NAME = "curve.png"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="Search, train, evaluate and compare facial keypoint models.",
)
app.add_typer(data_app, name="data")
app.add_typer(figures_app, name="figures")
app.add_typer(leaderboard_app, name="leaderboard")
app.add_typer(study_app, name="study")
app.command("tune")(tune_command)
app.command("evaluate")(evaluate_command)
app.command("doctor")(doctor_command)
app.command("reproduce")(reproduce_command)
app.command("simulate")(simulate_command)


def _version(wanted: bool) -> None:
    if wanted:
        console.print(__version__)
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Options of the program itself."""


@app.command("train")
@command
def train_command(
    config_uri: Annotated[str, typer.Argument(metavar="CONFIG.yaml")],
    overrides: Overrides = None,
    out: Annotated[str, typer.Option(help="Folder or URI of the run; runs/MODEL-ID by default.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that is there.")] = False,
    workers: Annotated[
        int,
        typer.Option(min=1, help="Processes, on the Ray cluster of RAY_ADDRESS or on this machine; GPUs one each."),
    ] = 1,
) -> None:
    """Train one model. With several workers the loss is that of one: each takes a part of every batch.

    Example: rcn-search train configs/rcn6.yaml --set schedule.epochs=3 --out runs/first
    """
    from rcn_search.evaluation.figures.curves import plot_error_curve

    config = load_train_config(config_uri, overrides or ())
    out = out or f"runs/{config.model.name}-{config.run_id}"
    check_outlives_job(out, "--out")
    preflight(out)
    trained = _with_workers(config, out, workers, resume) if workers > 1 else _alone(config, out, resume)
    validated = [report.model_dump() for report in trained if report.val_error_pct is not None]
    if validated:
        out = storage.absolute(out)
        plot_error_curve(validated, storage.join(out, CURVE_NAME))
        best = storage.join(out, BEST_NAME)
        console.print(f"best validation error {trained[-1].best_error_pct:.2f} % → {best}", soft_wrap=True)


def _alone(config: TrainConfig, out: str, resume: bool) -> list[EpochReport]:
    """Train in this process."""
    from rcn_search.training.trainer import Trainer

    with stop_on_signal() as should_stop, progress("training", "steps of the epoch") as on_step:
        run = Trainer(config, out, resume=resume, should_stop=should_stop, on_step=on_step)
        _print_start(config, run.out, run.settings, run.num_params, run.num_epochs_done)
        run.train(lambda report: _print_epoch(report, config.schedule.epochs))
    return run.history


def _with_workers(config: TrainConfig, out: str, num_workers: int, resume: bool) -> list[EpochReport]:
    """Train with several processes."""
    from rcn_search.cluster.status_channel import RunStarted, StatusMessage, StepDone
    from rcn_search.cluster.train_distributed import WorkerPlan, train_with_workers
    from rcn_search.training.epoch_report import EpochReport

    with stop_on_signal() as should_stop, progress("training", "steps of the epoch") as on_step:

        def show(message: WorkerPlan | StatusMessage) -> None:
            match message:
                case RunStarted():
                    _print_start(config, message.out, message.settings, message.num_params, len(message.history))
                case StepDone():
                    on_step(message.step, message.num_steps)
                case EpochReport():
                    _print_epoch(message, config.schedule.epochs)
                case WorkerPlan():
                    console.print(str(message), highlight=False)

        return train_with_workers(
            config, out, num_workers=num_workers, resume=resume, should_stop=should_stop, on_message=show
        )


def _print_start(config: TrainConfig, out: str, settings: ComputeSettings, num_params: int, epochs_done: int) -> None:
    console.print(
        f"{config.model.name} with {num_params:,} parameters on {settings.device}, {settings.precision}, "
        f"{'channels last, ' if settings.channels_last else ''}{settings.threads} threads → {out}",
        soft_wrap=True,
    )
    if epochs_done:
        console.print(f"resumed after {epochs_done} of {config.schedule.epochs} epochs")


def _print_epoch(report: EpochReport, num_epochs: int) -> None:
    error = "" if report.val_error_pct is None else f"  validation {report.val_error_pct:6.2f} %"
    left_s = (num_epochs - report.epoch) * (report.train_s + report.val_s)
    console.print(
        f"epoch {report.epoch:>3}/{num_epochs}  loss {report.loss:7.3f}{error}  {report.images_per_s:6.0f} images/s  "
        f"{left_s / 60:.0f} min left",
        highlight=False,
    )


def main() -> None:
    """Entry point."""
    app()
