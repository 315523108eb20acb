"""Event files of TensorBoard, in the folder of each trial: ``tensorboard --logdir STUDY/trials``."""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.tune import Callback

from rcn_search import storage
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial


@contextmanager
def _without_torch() -> Iterator[None]:
    """Let imports within see no torch, unless it is imported already.

    tensorboardX imports it, for the name of a type, if it is installed; a search process has no other use for it.
    """
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment] # as documented for the import statement
    try:
        yield
    finally:
        del sys.modules["torch"]


with _without_torch():
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.summary import hparams, scalar

PUBLISH_INTERVAL_S = 10.0
CURVES = ("val_error_pct", "best_error_pct", "loss")


class TensorBoard(Callback):  # type: ignore[misc]
    """Writes errors and loss of each epoch, and at the end of a trial its parameters.

    Ray's TBXLoggerCallback writes to Ray's folder, which is temporary here, and counts epochs from the last restart.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._open: dict[int, _EventFile] = {}
        self._is_enabled = True

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Write the new epochs of a trial."""
        self._write(self._study.trials[trial.config["number"]], ended=False)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write the last epochs and the parameters of a trial."""
        self._write(self._study.trials[trial.config["number"]], ended=True)

    on_trial_error = on_trial_complete

    def _write(self, trial: Trial, *, ended: bool) -> None:
        if not self._is_enabled or not trial.epochs:
            return
        try:
            if trial.number not in self._open:
                self._open[trial.number] = _EventFile(trial)
            self._open[trial.number].write(trial)
            if ended:
                self._open.pop(trial.number).close(trial)
        except OSError as error:  # the study store has everything; a missing picture does not end a search
            self._is_enabled = False
            warnings.warn(f"TensorBoard gets no more event files: {error}", stacklevel=2)


class _EventFile:
    """Event file of one trial, written by one search process."""

    def __init__(self, trial: Trial) -> None:
        self._folder = trial.folder
        is_local = storage.is_local(trial.folder)
        self._scratch = None if is_local else tempfile.TemporaryDirectory(prefix="rcn-search-events-")
        self._local_folder = Path(self._scratch.name) if self._scratch else storage.local_path(trial.folder)
        self._local_folder.mkdir(parents=True, exist_ok=True)
        # tensorboardX's SummaryWriter has a thread and a queue for each trial, and a flush that does not wait for them.
        self._file = EventsWriter(str(self._local_folder / "events"))
        self._num_written, self._published_at = 0, float("-inf")
        # The file of an earlier process holds the first epochs of a resumed trial. All are written again, and this
        # event makes TensorBoard drop what came before.
        self._add(step=1, session_log=SessionLog(status=SessionLog.START))

    def write(self, trial: Trial) -> None:
        """Write the new epochs. Once in a while they are published, which takes as long as a short epoch."""
        for number in range(self._num_written + 1, len(trial.epochs) + 1):
            values = trial.epochs[number].model_dump(include=set(CURVES))
            for name in CURVES:
                self._add(step=number, summary=scalar(name, values[name]))
        self._num_written = len(trial.epochs)
        if time.monotonic() - self._published_at >= PUBLISH_INTERVAL_S:
            self._publish()

    def close(self, trial: Trial) -> None:
        """Write the parameters and close the file."""
        parameters = {name: value for name, value in trial.params.items() if value is not None}
        for summary in hparams(hparam_dict=parameters, metric_dict={"best_error_pct": trial.error_pct}):
            self._add(summary=summary)
        self._publish()
        self._file.close()
        if self._scratch:
            self._scratch.cleanup()

    def _add(self, **content: Any) -> None:
        self._file.write_event(Event(wall_time=time.time(), **content))

    def _publish(self) -> None:
        """Flush the file; to an object store, which cannot append, put the whole file of some kB again."""
        self._published_at = time.monotonic()
        self._file.flush()
        if self._scratch:
            for file in self._local_folder.iterdir():
                storage.write_bytes(storage.join(self._folder, file.name), file.read_bytes())
