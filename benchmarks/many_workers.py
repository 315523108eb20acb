"""Share of their time that 100, 1,000 and 10,000 workers train, when one search process serves all of them.

    python benchmarks/many_workers.py [--trial-s 300] [--trials 1500] [--ray-trials 40]

Three costs of the search process are measured, as processor time: proposals, reports and ends of the real searcher with
the TPE and ASHA of search_spaces/rcn.yaml (as in search_process_overhead.py); an epoch and a trial of Ray Tune, in a
real search of trials that hardly train, without what the searcher takes of it. The rest is arithmetic: a queue in which
workers wait for the one search process, each trial with as many epochs as ASHA lets the real searcher's trials have.
The network and the workers' own start of a trial (trial_start.py) are left out.

The last line is JSON: the costs, for each number of workers the share of time that they train, and the largest number
that the search process can serve.
"""

from __future__ import annotations

import argparse
import heapq
import io
import json
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml
from rich.console import Console
from search_process_overhead import SPACE, Simulation

from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import import_dataset
from rcn_search.search import tune_run
from rcn_search.search.open_or_resume import StudyRequest
from rcn_search.search.run_search import run_search
from rcn_search.search.tune_searcher import StudyRecorder
from rcn_search.study.loading import load_study_config
from rcn_search.study.study import Study

WORKERS = (100, 1_000, 10_000)
SLOTS = 64
EPOCHS = (1, 5)
"""Epochs of the trials of the two real searches, from whose times those of a trial and of an epoch follow."""
MEASURED_TRIALS = 3
"""Trial lengths that are simulated after as many others in which the workers fall out of step."""


@dataclass(frozen=True)
class Costs:
    """Processor time of the search process in ms, and the mean number of epochs of a trial."""

    ask_ms: float
    report_ms: float
    end_ms: float
    ray_trial_ms: float
    ray_epoch_ms: float
    epochs: float

    @property
    def trial_s(self) -> float:
        """Time of the search process for one trial."""
        epoch_ms = self.report_ms + self.ray_epoch_ms
        return (self.ask_ms + self.end_ms + self.ray_trial_ms + self.epochs * epoch_ms) / 1e3


class TimedRecorder(StudyRecorder):
    """Notes the processor time of the search process at each end of a trial, and what recording took of it."""

    ends_ms: ClassVar[list[float]] = []
    recording_ms: ClassVar[float] = 0.0

    def on_trial_result(self, *arguments: Any, **options: Any) -> None:
        """Record a result."""
        started_s = time.process_time()
        super().on_trial_result(*arguments, **options)
        TimedRecorder.recording_ms += 1e3 * (time.process_time() - started_s)

    def on_trial_complete(self, *arguments: Any, **options: Any) -> None:
        """Record the end of a trial."""
        started_s = time.process_time()
        super().on_trial_complete(*arguments, **options)
        now_s = time.process_time()
        TimedRecorder.recording_ms += 1e3 * (now_s - started_s)
        TimedRecorder.ends_ms.append(1e3 * now_s - TimedRecorder.recording_ms)


def searcher_costs(num_trials: int) -> dict[str, float]:
    """Measure the real searcher over the last tenth of so many trials."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"budget.trials={num_trials}", "test=null"]
        space = load_study_config(str(SPACE), overrides=overrides, data_uri=folder)
        study = Study.start(f"{folder}/study", space, data_fingerprint="none")
        simulation = Simulation(study)
        simulation.run(num_trials - num_trials // 10, SLOTS)
        simulation.clear()
        simulation.run(num_trials, SLOTS)
        figures = simulation.figures()
        ended = [len(trial.epochs) for trial in study.trials if trial.result]
    costs = {f"{kind}_ms": figures[f"cpu_ms_{kind}"] for kind in ("ask", "report", "end")}
    return {**costs, "epochs": float(np.mean(ended))}


def ray_trial_ms(num_trials: int, num_epochs: int) -> float:
    """Measure what a trial of a real search costs the search process, proposals and recording left out."""
    tune_run.StudyRecorder = TimedRecorder  # type: ignore[misc]
    TimedRecorder.ends_ms.clear()
    TimedRecorder.recording_ms = 0.0
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/data"
        import_dataset(SyntheticImporter(num_train=8, num_val=4, num_test=1), data)
        document = {
            "study": {"name": "many-workers"},
            "base": {
                "data": {"uri": data},
                "model": {"name": "rcn", "branches": 2, "channels": 4},
                "schedule": {"batch_size": 8},
                "compute": {"precision": "fp32", "channels_last": False},
            },
            "search": {"optimizer.lr": {"float": [1e-4, 1e-3]}},
            "sampler": {"name": "random"},
            "scheduler": {"name": "none"},
            "budget": {"trials": num_trials, "epochs": num_epochs, "max_concurrent": 1},
        }
        path = Path(folder, "study.yaml")
        path.write_text(yaml.safe_dump(document))
        run_search(StudyRequest(study_file=str(path), study_uri=f"{folder}/study"), console=Console(file=io.StringIO()))
    return float(np.median(np.diff(TimedRecorder.ends_ms)[1:]))  # the first trials start their processes


def trained_share(costs: Costs, num_workers: int, trial_s: float) -> float:
    """Simulate the queue; return the share of time that the workers train."""
    draw = random.Random(0)
    num_epochs = max(round(costs.epochs), 1)
    epoch_s = trial_s / num_epochs
    start_s = (costs.ask_ms + costs.end_ms + costs.ray_trial_ms) / 1e3
    report_s = (costs.report_ms + costs.ray_epoch_ms) / 1e3
    # Times at which workers call the search process, and the epochs that their trials still have; at first, any number.
    calls = [(trial_s * draw.random() / num_epochs, draw.randrange(num_epochs)) for _ in range(num_workers)]
    heapq.heapify(calls)
    free_s = trained_s = 0.0
    first_s, last_s = MEASURED_TRIALS * trial_s, 2 * MEASURED_TRIALS * trial_s
    while calls[0][0] < last_s:
        call_s, epochs_left = heapq.heappop(calls)
        free_s = max(free_s, call_s) + report_s + (0 if epochs_left else start_s)
        duration_s = epoch_s * draw.uniform(0.8, 1.2)
        trained_s += max(0.0, min(free_s + duration_s, last_s) - max(free_s, first_s))
        heapq.heappush(calls, (free_s + duration_s, (epochs_left or num_epochs) - 1))
    return trained_s / (num_workers * (last_s - first_s))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trial-s", type=float, default=300.0, help="training time of a trial")
    parser.add_argument("--trials", type=int, default=1_500, help="of the real searcher")
    parser.add_argument("--ray-trials", type=int, default=40, help="of each real search")
    arguments = parser.parse_args()
    searcher = searcher_costs(arguments.trials)
    print(f"real searcher: {searcher}", flush=True)
    few_ms, many_ms = (ray_trial_ms(arguments.ray_trials, num_epochs) for num_epochs in EPOCHS)
    ray_epoch_ms = (many_ms - few_ms) / (EPOCHS[1] - EPOCHS[0])
    costs = Costs(**searcher, ray_epoch_ms=ray_epoch_ms, ray_trial_ms=few_ms - EPOCHS[0] * ray_epoch_ms)
    print(f"Ray Tune, real search: {costs.ray_trial_ms:.1f} ms a trial, {costs.ray_epoch_ms:.1f} ms an epoch")
    shares = {str(number): trained_share(costs, number, arguments.trial_s) for number in WORKERS}
    for number, share in shares.items():
        load = int(number) * costs.trial_s / arguments.trial_s
        print(f"{int(number):>6,} workers train {share:.1%} of the time; the search process works {load:.0%} of it")
    figures = {name: round(value, 3) for name, value in vars(costs).items()}
    most = int(arguments.trial_s / costs.trial_s)
    print(
        json.dumps(
            {**figures, "trained_share": {key: round(share, 4) for key, share in shares.items()}, "most_workers": most}
        )
    )


if __name__ == "__main__":
    main()
