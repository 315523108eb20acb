"""The records of a study that somebody else sent: read by every command that shows or exports it."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path

import yaml

from rcn_search import storage
from rcn_search.study.loading import load_study_config
from rcn_search.study.snapshot import open_study
from rcn_search.study.study import Study
from rcn_search.study.winner import Candidate, ReplicationRun, Winner
from tests.fuzz.mutations import JSON
from tests.fuzz.oracle import Target, Wrong
from tests.fuzz.targets.command_line import run_command
from tests.support.studies import play_trials

DOCUMENT = {
    "study": {"name": "tiny", "seed": 1},
    "base": {"data": {"uri": "data"}, "model": {"name": "rcn"}},
    "search": {"model.branches": {"int": [2, 6]}, "optimizer.lr": {"float": [1e-3, 1e-2], "log": True}},
    "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
    "sampler": {"name": "random"},
    "budget": {"trials": 5, "epochs": 4},
}
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("status",),
    ("trials",),
    ("trials", "--format", "csv"),
    ("trials", "--format", "json", "--sort", "error"),
    ("best",),
    ("best", "--config"),
    ("export", "out.csv"),
    ("export", "out.parquet"),
    ("export", "out.journal"),
)


def _prepare(folder: Path) -> None:
    uri = folder / "study"
    if uri.exists():
        return
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(DOCUMENT))
    study = Study.start(str(uri), load_study_config(str(path)), "drawn")
    play_trials(study, 4)
    trial = study.ask()
    assert trial is not None
    epoch = {"epoch": 1, "loss": 1.0, "val_error_pct": 19.5, "best_error_pct": 19.5, "train_s": 2.0, "val_s": 1.0}
    storage.write_json(storage.join(trial.folder, "history.json"), [epoch])
    runs = tuple(
        ReplicationRun(number=number, seed=number, error_pct=16.0, checkpoint="best.safetensors") for number in range(2)
    )
    candidates = tuple(
        Candidate(trial=number, search_error_pct=16.0, runs=runs, error_pct=16.0, minus_winner_pct=difference)
        for number, difference in ((0, None), (3, 0.3))
    )
    winner = Winner(trial=0, is_tied=False, candidates=candidates, num_images=100)
    storage.write_json(storage.join(str(uri), "winner.json"), winner.model_dump(mode="json"))
    number = uri / "leases/000000"
    number.mkdir(parents=True)
    (number / "acquired.json").write_text(json.dumps(LEASE | {"settings": _settings(uri)}))
    (number / "heartbeat.json").write_text(json.dumps({"at": 1.0}))
    shutil.copytree(uri, folder / "pristine")


LEASE = {"schema_version": 2, "owner": {"host": "h", "machine": "m", "pid": 1}, "acquired_at": 1.0}


def _settings(uri: Path) -> object:
    return json.loads((uri / "study.json").read_text())["settings"]


def _check(study: Study) -> None:
    """What a study shows: errors that can be compared, epochs in their order, a best trial that is the best."""
    for trial in study.trials:
        epochs = sorted(trial.epochs)
        if epochs != list(range(1, len(epochs) + 1)):
            raise Wrong(f"trial {trial.number} has the epochs {epochs[:5]}")
        for each in trial.epochs.values():
            times = (each.train_s, each.val_s, each.other_s)
            if each.val_error_pct < 0 or not all(map(math.isfinite, (each.val_error_pct, *times))) or min(times) < 0:
                raise Wrong(f"trial {trial.number} has the error {each.val_error_pct} and the times {times}")
    best = study.best_trial
    if best is not None:
        errors = [
            min(epoch.val_error_pct for epoch in trial.epochs.values())
            for trial in study.trials
            if trial.state == "complete" and trial.is_feasible
        ]
        if best.error_pct != min(errors):
            raise Wrong(f"the best trial has {best.error_pct}, another one {min(errors)}")


def _target(name: str, place: str, *names: str) -> Target:
    def prepare(folder: Path) -> list[bytes]:
        _prepare(folder)
        return [(folder / "pristine" / place).read_bytes()]

    def read(folder: Path, content: bytes) -> None:
        (folder / "study" / place).write_bytes(content)
        _check(open_study(str(folder / "study")))
        action, *options = COMMANDS[hashlib.sha256(content).digest()[0] % len(COMMANDS)]
        if action == "export":
            options = ["--to", str(folder / options[0])]
        run_command("study", action, folder / "study", *options)

    file = place.rpartition("/")[2]
    return Target(name=name, prepare=prepare, mutate=JSON, read=read, names=(file, *names), num_examples=5)


TARGETS = (
    _target("study.json", "study.json"),
    _target("trial.json", "trials/000001/trial.json"),
    _target("result.json", "trials/000000/result.json"),
    _target("result.json of a pruned trial", "trials/000001/result.json"),
    _target("acquired.json", "leases/000000/acquired.json", "study.json"),
    _target("heartbeat.json", "leases/000000/heartbeat.json"),
    _target("winner.json", "winner.json"),
    _target("history.json of a trial", "trials/000004/history.json"),
)
