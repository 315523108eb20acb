"""Train one model in this process: the function of the public API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rcn_search import storage
from rcn_search.config.schema import TrainConfig
from rcn_search.training.epoch_report import EpochReport
from rcn_search.training.exit_status import BEST_NAME
from rcn_search.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """Result of a training run."""

    checkpoint: str  # path or URI of best.safetensors, the weights with the lowest validation error
    history: list[EpochReport]
    best_error_pct: float  # lowest validation error, in percent


def train(
    config: TrainConfig,
    out: str,
    *,
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[int, int], None] = lambda step, num_steps: None,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
) -> TrainResult:
    """Train one model, and write checkpoints and history to ``out``.

    Args:
        config: Configuration of the run.
        out: Folder or URI of the run.
        resume: Resume the run in ``out`` from its last checkpoint.
        should_stop: Called after every step; if it returns true, the run is saved and `Interrupted` is raised.
        on_step: Called after every step with (step of the epoch from 1, steps of the epoch).
        on_epoch: Called with the report of each epoch, after the run is saved.

    Raises:
        RunExistsError: ``out`` holds a run and ``resume`` is false, or it holds another run.
        DatasetError: The data set is missing, damaged, or lacks what the configuration needs.
        TrainingFailed: The loss or the validation error is not finite.
        Interrupted: ``should_stop`` returned true.

    Example:
        >>> from tempfile import mkdtemp
        >>> from rcn_search.data.importers.synthetic import SyntheticImporter
        >>> from rcn_search.data.importing import import_dataset
        >>> data = mkdtemp()
        >>> _ = import_dataset(SyntheticImporter(num_train=8, num_val=4, num_test=1), data)
        >>> config = TrainConfig.model_validate(
        ...     {
        ...         "data": {"uri": data},
        ...         "model": {"name": "rcn", "branches": 2, "channels": 4},
        ...         "schedule": {"epochs": 2, "batch_size": 4},
        ...         "compute": {"precision": "fp32", "channels_last": False, "threads": 1},
        ...     }
        ... )
        >>> result = train(config, f"{data}/run")
        >>> result.checkpoint.endswith("/run/best.safetensors"), len(result.history)
        (True, 2)
    """
    trainer = Trainer(config, out, resume=resume, should_stop=should_stop, on_step=on_step)
    trainer.train(on_epoch)
    assert trainer.best_error_pct is not None  # the last epoch is always validated
    return TrainResult(
        checkpoint=storage.join(trainer.out, BEST_NAME), history=trainer.history, best_error_pct=trainer.best_error_pct
    )
