"""Names of the files of a training run, and the exceptions that end one; importable without torch."""

from __future__ import annotations

import math

from rcn_search.errors import RcnSearchError

CONFIG_NAME = "config.json"
HISTORY_NAME = "history.json"
BEST_NAME = "best.safetensors"
LAST_NAME = "last.safetensors"


def epoch_checkpoint_name(epoch: int) -> str:
    """Name of the checkpoint of one epoch (from 1), for ``validation.save: every``."""
    return f"epoch-{epoch:04d}.safetensors"


class TrainingFailed(RcnSearchError):  # noqa: N818 - an outcome of a run
    """The run cannot continue, for example because its loss is not finite; the message is the reason."""


class Interrupted(Exception):  # noqa: N818
    """The run was stopped on request; it is saved and can be resumed."""


def finite_loss(loss: float, epoch: int) -> float:
    """Return the loss, unless it is not finite: such a loss is never saved or reported."""
    if not math.isfinite(loss):
        raise TrainingFailed(f"the loss became {loss} in epoch {epoch}; try a lower optimizer.lr")
    return loss
