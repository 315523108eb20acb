"""``rcn-search tune`` that waits at one epoch of a trial to be struck: ``held_tune.py TRIAL EPOCH SPACE.yaml …``.

Until then the trial cannot come to its end, however late the blow falls.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import typer

from rcn_search.cli.tune import tune_command
from rcn_search.search import run_search as driver
from rcn_search.search.tune_searcher import StudyRecorder

HELD_S = 600
HELD_AT = int(sys.argv.pop(1)), int(sys.argv.pop(1))


class HeldRecorder(StudyRecorder):
    """Tune orders a trial's next epoch when it is done with this one."""

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        super().on_trial_result(iteration, trials, trial, result, **info)
        if (trial.config["number"], result["epoch"]) == HELD_AT:
            time.sleep(HELD_S)


if __name__ == "__main__":
    driver.StudyRecorder = HeldRecorder  # type: ignore[misc]
    typer.run(tune_command)
