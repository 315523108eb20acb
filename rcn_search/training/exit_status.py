"""How a training run ends and the files it leaves; importable without torch."""

from __future__ import annotations

CONFIG_NAME = "config.json"
HISTORY_NAME = "history.json"
BEST_NAME = "best.safetensors"
LAST_NAME = "last.safetensors"


def epoch_name(epoch: int) -> str:
    """Weights of one epoch (from 1), where every epoch's are kept."""
    return f"epoch-{epoch:04d}.safetensors"


class TrainingFailed(RuntimeError):  # noqa: N818 - an outcome of a run, not a fault of the program
    """The run cannot go on, for its loss is not finite, say; the message is the reason."""


class Interrupted(Exception):  # noqa: N818
    """The run was asked to stop; it is saved and can be resumed."""
