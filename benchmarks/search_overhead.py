"""How much of a search's time is not training: 30 trials of 2 epochs on 500 images, as issue and README state it.

    python benchmarks/search_overhead.py --data data/mtfl

The last line is JSON: ``overhead_pct``, the share of the slots' time, from the call of the search to the end of Ray, in
which nothing was trained or validated; ``wall_s``, ``busy_s``, ``other_s`` (opening runs, saving checkpoints),
``idle_s`` (of slots that no trial was left for: part of the overhead); ``open_median_s``, what a trial in a reused
actor costs before its first step and after its first epoch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from rich.console import Console

from rcn_search.search.open_or_resume import StudyRequest
from rcn_search.search.run_search import run_search

SPACE = Path(__file__).parents[1] / "search_spaces" / "rcn.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="an imported data set with 500 faces to train on")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=500, help="to train on, and to validate on")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run_search(
            StudyRequest(
                study_file=str(SPACE),
                overrides=[
                    f"budget.trials={arguments.trials}",
                    f"budget.epochs={arguments.epochs}",
                    f"base.data.num_train={arguments.images}",
                    f"base.data.num_val={arguments.images}",
                    "scheduler={name: none}",
                    "test=null",
                ],
                study_uri=f"{folder}/study",
                data_uri=arguments.data,
            ),
            console=Console(),
        )
    summary = result.summary
    reused = result.study.trials[summary.slots :]
    figures = {
        "overhead_pct": summary.overhead_pct,
        "wall_s": summary.wall_s,
        "busy_s": summary.busy_s,
        "other_s": summary.other_s,
        "idle_s": summary.idle_s,
        "slots": summary.slots,
        "open_median_s": statistics.median(trial.epochs[1].other_s for trial in reused if trial.epochs),
    }
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
