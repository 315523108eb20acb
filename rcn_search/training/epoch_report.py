"""Report of an epoch of training; importable without torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class EpochReport(BaseModel):
    """Results of one epoch."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)
    epoch: int  # number of the epoch, from 1
    loss: float  # mean loss over the steps of the epoch, for the batches of all workers
    val_error_pct: float | None  # validation error, see `Validator`; None for an epoch without validation
    best_error_pct: float | None  # lowest validation error so far
    images_per_s: float  # training images of all workers per second of training time
    train_s: float
    val_s: float
    lr: float  # learning rate of the last step
