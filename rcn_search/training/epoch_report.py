"""What a training run says of each epoch; importable without torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class EpochReport(BaseModel):
    """One epoch of a run.

    Attributes:
        epoch: From 1.
        loss: Mean over the steps of the epoch, of the batches of all workers.
        val_error_pct: See `Validator`; None for an epoch without validation.
        best_error_pct: Lowest so far.
        images_per_s: Training images of all workers over training time.
        train_s: Time of the steps.
        val_s: Time of the validation.
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
