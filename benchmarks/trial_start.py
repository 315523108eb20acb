"""How long a slot of a running search is idle between two trials: from the end of one to the first step of the next.

    python benchmarks/trial_start.py --data data/mtfl [--trials 12]

One slot, so that each trial starts when the one before has ended. Measured from outside of the trials, by the study
store: from the moment when the end of a trial is entered to the end of the first epoch of the next, less the training
and the validation of that epoch. So it holds the draw, Tune's loop, opening the run and its first checkpoint. The
first trial, for which a process has to be started, is left out.

The last line is JSON: ``median_s``, ``longest_s`` and ``num_starts``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from rcn_search.search.open_or_resume import StudyRequest
from rcn_search.search.run_search import run_search
from rcn_search.search.tune_searcher import StudyRecorder

SPACE = Path(__file__).parents[1] / "search_spaces" / "rcn.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="an imported data set")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--images", type=int, default=64, help="to train on, and to validate on")
    arguments = parser.parse_args()
    first_reports_s: dict[int, float] = {}
    report = StudyRecorder.on_trial_result

    def timed(recorder: StudyRecorder, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        first_reports_s.setdefault(trial.config["number"], time.time())
        report(recorder, iteration, trials, trial, result, **info)

    StudyRecorder.on_trial_result = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        study = run_search(
            StudyRequest(
                study_file=str(SPACE),
                overrides=[
                    f"budget.trials={arguments.trials}",
                    "budget.epochs=2",
                    "budget.max_concurrent=1",
                    f"base.data.num_train={arguments.images}",
                    f"base.data.num_val={arguments.images}",
                    "scheduler={name: none}",
                    "test=null",
                ],
                study_uri=f"{folder}/study",
                data_uri=arguments.data,
            ),
            console=Console(),
        ).study
    starts_s = []
    for before, after in zip(study.trials, study.trials[1:], strict=False):
        assert before.result is not None
        assert before.result.ended_at is not None
        first = after.epochs[1]
        starts_s.append(first_reports_s[after.number] - before.result.ended_at - first.train_s - first.val_s)
    figures = {"median_s": statistics.median(starts_s), "longest_s": max(starts_s), "num_starts": len(starts_s)}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
