"""Command ``rcn-search train``: train one model in this process, or with several workers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from rcn_search import storage
from rcn_search.cli.console import command, console, print_text, progress, stop_on_signal
from rcn_search.cli.options import Overrides
from rcn_search.cluster.ray_job import check_outlives_job, check_travels_with_job
from rcn_search.config.loading import load_train_config
from rcn_search.config.schema import InitConfig
from rcn_search.resources import absolute_weights
from rcn_search.storage.preflight import preflight
from rcn_search.training.exit_status import BEST_NAME

if TYPE_CHECKING:
    from rcn_search.config.schema import TrainConfig
    from rcn_search.training.compute_settings import ComputeSettings
    from rcn_search.training.epoch_report import EpochReport

CURVE_NAME = "curve.png"


@command
def train_command(
    config_uri: Annotated[str, typer.Argument(metavar="CONFIG.yaml", help="Training configuration.")],
    data: Annotated[str, typer.Option(metavar="URI", help="Data set, in place of data.uri.")] = "",
    overrides: Overrides = None,
    start: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="WEIGHTS",
            help="Start from these weights of the same network, in place of init.weights: packaged weights, the "
            "folder of a run, or a checkpoint. If they have other points, only the head starts anew.",
        ),
    ] = "",
    out: Annotated[str, typer.Option(metavar="URI", help="Folder or URI of the run. Default: runs/MODEL-RUN_ID.")] = "",
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the run in --out from its last checkpoint, if it has one.")
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            help="Number of processes, on the Ray cluster of RAY_ADDRESS or on this machine, with one GPU each if "
            "there are GPUs. They divide each batch among them, so "
            "that the result does not depend on their number, apart from rounding.",
        ),
    ] = 1,
) -> None:
    """Train one model.

    The run writes best.safetensors (weights with the lowest validation error), last.safetensors (for --resume),
    history.json and curve.png.

    Example: rcn-search train configs/rcn6.yaml --data data/mtfl --set schedule.epochs=3 --out runs/first
    """
    from rcn_search.evaluation.figures.curves import plot_error_curve

    config = _load_config(config_uri, overrides or [], data, start)
    check_travels_with_job(config.data.uri)
    out = out or f"runs/{config.model.name}-{config.run_id}"
    check_outlives_job(out, "--out")
    preflight(out)
    history = (
        _train_with_workers(config, out, workers, resume) if workers > 1 else _train_in_process(config, out, resume)
    )
    validated = [report.model_dump() for report in history if report.val_error_pct is not None]
    if validated:
        out = storage.absolute(out)
        plot_error_curve(validated, storage.join(out, CURVE_NAME))
        best = storage.join(out, BEST_NAME)
        console.print(f"best validation error {history[-1].best_error_pct:.2f} % → {best}", soft_wrap=True)


def _load_config(config_uri: str, overrides: list[str], data: str, start: str) -> TrainConfig:
    """Load the configuration, and identify the weights that the training starts from, if any, by their hash."""
    config = load_train_config(config_uri, [*overrides, *([f"data.uri={json.dumps(data)}"] if data else ())])
    if start:
        decay = {"layer_lr_decay": config.init.layer_lr_decay} if config.init else {}
        config = config.model_copy(update={"init": InitConfig.model_validate({"weights": start, **decay})})
    if config.init is None:
        return config
    from rcn_search.training.start_weights import with_weights_hash

    init = config.init.model_copy(update={"weights": absolute_weights(config.init.weights)})
    return with_weights_hash(config.model_copy(update={"init": init}))


def _train_in_process(config: TrainConfig, out: str, resume: bool) -> list[EpochReport]:
    from rcn_search.training.trainer import Trainer

    with stop_on_signal() as should_stop, progress("training", "steps of the epoch") as on_step:
        trainer = Trainer(config, out, resume=resume, should_stop=should_stop, on_step=on_step, on_probe=_print_probe)
        _print_weights(str(trainer.start))
        _print_start(config, trainer.out, trainer.settings, trainer.num_params, trainer.num_epochs_done)
        trainer.train(lambda report: _print_epoch(report, config.schedule.epochs))
    return trainer.history


def _train_with_workers(config: TrainConfig, out: str, num_workers: int, resume: bool) -> list[EpochReport]:
    from rcn_search.cluster.status_channel import RunStarted, StatusMessage, StepDone
    from rcn_search.cluster.train_distributed import WorkerPlan, train_with_workers
    from rcn_search.training.epoch_report import EpochReport

    with stop_on_signal() as should_stop, progress("training", "steps of the epoch") as on_step:

        def show(message: WorkerPlan | StatusMessage) -> None:
            match message:
                case RunStarted():
                    _print_weights(message.start)
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


def _print_probe(num_candidates: int) -> None:
    console.print(f"timing {num_candidates} choices of precision, memory layout and threads …")


def _print_weights(start: str) -> None:
    if start:
        print_text(start)


def _print_start(
    config: TrainConfig, out: str, settings: ComputeSettings, num_params: int, num_epochs_done: int
) -> None:
    console.print(
        f"{config.model.name} with {num_params:,} parameters on {settings.device}, {settings.precision}, "
        f"{'channels last, ' if settings.channels_last else ''}{settings.threads} threads → {out}",
        soft_wrap=True,
    )
    if num_epochs_done:
        console.print(f"resumed after {num_epochs_done} of {config.schedule.epochs} epochs")


def _print_epoch(report: EpochReport, num_epochs: int) -> None:
    error = "" if report.val_error_pct is None else f"  validation {report.val_error_pct:6.2f} %"
    left_s = (num_epochs - report.epoch) * (report.train_s + report.val_s)
    console.print(
        f"epoch {report.epoch:>3}/{num_epochs}  loss {report.loss:7.3f}{error}  {report.images_per_s:6.0f} images/s  "
        f"{left_s / 60:.0f} min left",
        highlight=False,
    )
