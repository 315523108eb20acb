"""``rcn-search tune`` that waits in one epoch of a trial to be killed: ``held_tune.py TRIAL EPOCH STUDY.yaml …``.

The trial cannot end before, however late the kill comes.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import typer

from rcn_search.cli.tune import tune_command
from rcn_search.search import tune_run
from rcn_search.search.tune_searcher import StudyRecorder

HELD_S = 600
HELD_AT = int(sys.argv.pop(1)), int(sys.argv.pop(1))


class HeldRecorder(StudyRecorder):
    """Holds Tune's loop, which starts the next epoch of a trial after this one is recorded."""

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        super().on_trial_result(iteration, trials, trial, result, **info)
        if (trial.config["number"], result["epoch"]) == HELD_AT:
            time.sleep(HELD_S)


if __name__ == "__main__":
    tune_run.StudyRecorder = HeldRecorder  # type: ignore[misc]
    typer.run(tune_command)
