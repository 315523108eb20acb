"""A real search whose actor only pretends to train.

``scripted_search.py STUDY FOLDER TRIALS EPOCHS [--resume] [--deterministic]``, with the study at any URI; FOLDER is
a local one.
"""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path

import yaml

from rcn_search import storage
from rcn_search.keypoints import keypoint_schema
from rcn_search.search import open_or_resume, run_search, tune_run
from rcn_search.search.trial_actor import TrialActor

EPOCH_S = 0.5
FOLDER = "SCRIPTED_SEARCH_FOLDER"


def error_pct(lr: float, epoch: int) -> float:
    """A curve that follows from the learning rate alone; curves cross."""
    return 20 + 1_000 * abs(lr - 4e-3) / epoch + 5 * math.sin(1e5 * lr * epoch)


def fails(lr: float) -> bool:
    """Whether the loss becomes NaN in the third epoch."""
    return int(1e6 * lr) % 6 == 0


def diary_path(folder: Path, number: int) -> Path:
    """List of all epochs that a trial trained, saved or not."""
    return folder / f"trained-{number:06d}.txt"


class ScriptedActor(TrialActor):
    """Its checkpoint is the number of trained epochs; its diary lists all that were trained."""

    def step(self) -> dict[str, object]:
        folder, config = self._spec.folder, self._spec.config
        lr, num_epochs = config.optimizer.lr, config.schedule.epochs
        saved = storage.join(folder, "done.json")
        done = storage.read_json(saved) if storage.exists(saved) else 0
        is_first, self._known = getattr(self, "_known", None) != folder, folder
        earlier = list(range(1, done + 1)) if is_first else []
        if done < num_epochs:
            time.sleep(EPOCH_S)
            done += 1
            if fails(lr) and done == 3:
                return {
                    "val_error_pct": math.nan,
                    "done": True,
                    "failure": "nan",
                    "epochs": _epoch_results(lr, earlier),
                }
            with diary_path(Path(os.environ[FOLDER]), self._spec.number).open("a") as diary:
                diary.write(f"{done}\n")
            storage.write_json(saved, done)
        epochs = _epoch_results(lr, sorted({*earlier, done}))
        complete = done == num_epochs
        return {**epochs[-1], "epochs": epochs, "complete": complete, "done": complete}


def _epoch_results(lr: float, epochs: list[int]) -> list[dict[str, float]]:
    times = {"train_s": EPOCH_S, "val_s": 0.0, "other_s": 0.0}
    return [
        {"epoch": epoch, "loss": 1.0, "val_error_pct": error_pct(lr, epoch), "best_error_pct": 1.0, **times}
        for epoch in epochs
    ]


class _Manifest:
    fingerprint = "scripted"
    keypoint_schema = keypoint_schema("five")


def main() -> None:
    """Run one search process."""
    study, folder, trials, epochs, *options = sys.argv[1:]
    os.environ[FOLDER] = folder  # which the processes of Ray inherit
    file = Path(folder) / "study.yaml"
    document = {
        "study": {"name": "scripted"},
        "base": {"data": {"uri": study}, "model": {"name": "rcn"}},
        "search": {"optimizer.lr": {"float": [1e-3, 1e-2]}},
        "budget": {"trials": int(trials), "epochs": int(epochs), "max_concurrent": 2},
        "scheduler": {"name": "asha", "reduction_factor": 2},
        "sampler": {"name": "tpe", "num_startup_trials": 4},
    }
    file.write_text(yaml.safe_dump(document))
    tune_run.TrialActor = ScriptedActor  # type: ignore[misc]
    open_or_resume.check_dataset = lambda space: _Manifest()  # type: ignore[assignment,return-value]
    request = open_or_resume.StudyRequest(
        study_file=str(file), study_uri=study, resume="--resume" in options, deterministic="--deterministic" in options
    )
    run_search.run_search(request)


if __name__ == "__main__":
    main()
