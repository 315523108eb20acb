"""CPU time of an epoch beside its training steps and validation, through the real Tune actor, at epochs 10 and 4,000.

    python benchmarks/epoch_cost.py [--epochs 4000]

One trial of a tiny network on a few drawn faces, so that an epoch is as short as on a GPU. Saving, reporting, Tune and
the search process are what remains. Process CPU time counts, so other work on the machine makes no difference but that
of shared caches. The last line is JSON: CPU ms per epoch of the trial's process and of the search process, means over
the epochs around 10 and the last ones. Saves are counted as they come, by time, in a mean over all epochs as well.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

import yaml
from rich.console import Console

from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import import_dataset
from rcn_search.search import tune_run
from rcn_search.search.open_or_resume import StudyRequest
from rcn_search.search.run_search import run_search
from rcn_search.search.trial_actor import TrialActor
from rcn_search.search.tune_searcher import StudyRecorder

WINDOW = 16


class MeasuredActor(TrialActor):
    """Reports the CPU time of its process since the last epoch, without that of steps and validation."""

    def _train_epoch(self) -> dict[str, Any]:
        from rcn_search.training.state import TrainState
        from rcn_search.training.validation import Validator

        if self._trainer is None:
            self._work_s, self._before_s = 0.0, time.process_time()
            for kind, name in ((TrainState, "train_step"), (Validator, "error_pct")):
                setattr(kind, name, self._timed(getattr(kind, name)))
        result = super()._train_epoch()
        now_s = time.process_time()
        result["beside_ms"] = 1e3 * (now_s - self._before_s - self._work_s)
        self._work_s, self._before_s = 0.0, now_s
        return result

    def _timed(self, function: Any) -> Any:
        def timed(*arguments: Any, **options: Any) -> Any:
            started_s = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self._work_s += time.process_time() - started_s

        return timed


class MeasuredRecorder(StudyRecorder):
    """Notes the CPU time of both processes at each epoch."""

    trial_ms: ClassVar[list[float]] = []
    search_ms: ClassVar[list[float]] = []
    _before_s = 0.0

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Record the epoch, and note the time since the one before."""
        super().on_trial_result(iteration, trials, trial, result, **info)
        now_s = time.process_time()
        self.trial_ms.append(result["beside_ms"])
        self.search_ms.append(1e3 * (now_s - MeasuredRecorder._before_s))
        MeasuredRecorder._before_s = now_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4_000)
    num_epochs = parser.parse_args().epochs
    tune_run.TrialActor, tune_run.StudyRecorder = MeasuredActor, MeasuredRecorder  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/data"
        import_dataset(SyntheticImporter(num_train=8, num_val=4, num_test=1), data)
        document = {
            "study": {"name": "epoch-cost"},
            "base": {
                "data": {"uri": data},
                "model": {"name": "rcn", "branches": 2, "channels": 4},
                "schedule": {"batch_size": 8},
                "compute": {"precision": "fp32", "channels_last": False},
            },
            "runs": {"one": {}},
            "budget": {"epochs": num_epochs},
        }
        path = Path(folder, "study.yaml")
        path.write_text(yaml.safe_dump(document))
        request = StudyRequest(study_file=str(path), study_uri=f"{folder}/study")
        run_search(request, console=Console(file=io.StringIO()))
    trial_ms, search_ms = MeasuredRecorder.trial_ms, MeasuredRecorder.search_ms
    assert len(trial_ms) == num_epochs, f"{len(trial_ms)} of {num_epochs} epochs were reported"
    first, last = slice(2, 2 + WINDOW), slice(-WINDOW - 1, -1)
    result = {
        f"{process}_cpu_ms_{name}": round(fmean(times_ms[part]), 2)
        for process, times_ms in (("trial", trial_ms), ("search_process", search_ms))
        for name, part in (("epoch_10", first), (f"epoch_{num_epochs}", last), ("mean", slice(2, -1)))
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
