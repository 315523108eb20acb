"""Saves a run by time: after an epoch if the last save is ``checkpoint.every_s`` old, and at the end.

What a save costs does not depend on the number of epochs before it (see `rcn_search.training.history`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from torch import Tensor

from rcn_search import storage
from rcn_search.training.async_uploads import AsyncUploads
from rcn_search.training.checkpoint import CheckpointInfo, checkpoint_bytes
from rcn_search.training.epoch_report import EpochReport
from rcn_search.training.exit_status import BEST_NAME, HISTORY_NAME, LAST_NAME
from rcn_search.training.history import PART_EPOCHS, num_parts, part_uri


class RunSaver:
    """Writes the files of the run at ``out``: best weights first, then what refers to them.

    ``num_parts_saved`` parts of the history exist already.
    """

    def __init__(self, out: str, every_s: float, num_parts_saved: int = 0) -> None:
        self._out, self._every_s, self._num_parts_saved = out, every_s, num_parts_saved
        self._uploads = AsyncUploads(out)
        self._best: tuple[CheckpointInfo, dict[str, Tensor]] | None = None
        self._saved_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the last save is old enough for the next one."""
        return time.monotonic() - self._saved_at >= self._every_s

    def keep_best(self, info: CheckpointInfo, tensors: dict[str, Tensor]) -> None:
        """Keep a copy of the best weights so far until the next save."""
        self._best = info, {name: tensor.detach().clone() for name, tensor in tensors.items()}

    def write_weights(self, name: str, info: CheckpointInfo, tensors: dict[str, Tensor]) -> None:
        """Write weights under a name of their own, with the next save if ``out`` is remote."""
        self._uploads.add(storage.join(self._out, name), checkpoint_bytes(info, tensors))

    def write_best(self) -> None:
        """Write the best weights, if there are better ones than those that are written."""
        if self._best:
            self.write_weights(BEST_NAME, *self._best)
            self._best = None

    def save(self, info: CheckpointInfo, tensors: dict[str, Tensor], history: Sequence[EpochReport]) -> None:
        """Save the state of the run after the epochs of ``history``. To a remote ``out`` it is uploaded meanwhile."""
        self.write_best()
        for number in range(self._num_parts_saved, num_parts(len(history))):
            part = history[number * PART_EPOCHS : (number + 1) * PART_EPOCHS]
            self._uploads.add(part_uri(self._out, number), _encode(part))
        self._num_parts_saved = num_parts(len(history))
        self._uploads.add(storage.join(self._out, LAST_NAME), checkpoint_bytes(info, tensors))
        rest = history[self._num_parts_saved * PART_EPOCHS :]
        self._uploads.add(storage.join(self._out, HISTORY_NAME), _encode(rest))
        self._uploads.start()
        self._saved_at = time.monotonic()

    def raise_if_failed(self) -> None:
        """Raise the error of an upload that failed, without waiting for a running one."""
        self._uploads.raise_if_failed()

    def flush(self) -> None:
        """Wait until all that was saved is uploaded; an upload that failed raises `OSError`."""
        self._uploads.start()
        self._uploads.flush()


def _encode(reports: Sequence[EpochReport]) -> bytes:
    return storage.encode_json([report.model_dump() for report in reports])
