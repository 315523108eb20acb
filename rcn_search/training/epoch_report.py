"""Report of an epoch of training; importable without torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class EpochReport(BaseModel):
    """Results of one epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        loss: Mean loss over the steps of the epoch, for the batches of all workers.
        val_error_pct: Validation error, see `Validator`; None for an epoch without validation.
        best_error_pct: Lowest validation error so far.
        images_per_s: Training images of all workers per second of training time.
        train_s: Time spent on training steps.
        val_s: Time spent on validation.
        lr: Learning rate of the last step.
    """

    model_config = ConfigDict(frozen=True)
    epoch: int
    loss: float
    val_error_pct: float | None
    best_error_pct: float | None
    images_per_s: float
    train_s: float
    val_s: float
    lr: float
