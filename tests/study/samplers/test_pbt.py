"""Population-based training: choice of the parent, changed parameters, and the copied checkpoint."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from rcn_search import storage
from rcn_search.config.errors import ConfigError
from rcn_search.config.schema import TrainConfig
from rcn_search.search.open_or_resume import StudyRequest
from rcn_search.search.run_search import run_search
from rcn_search.search.tune_searcher import StudyRecorder, StudySearcher
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import EpochResult
from rcn_search.study.samplers import pbt
from rcn_search.study.samplers.pbt import EXPLORED_KEYS, copy_checkpoint
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.training.checkpoint import load_network, read_checkpoint
from rcn_search.training.exit_status import BEST_NAME, LAST_NAME
from rcn_search.training.optim import learning_rate
from rcn_search.training.trainer import Trainer
from tests.support.studies import Document, resume_study

POPULATION = 8
PBT = {"name": "pbt", "population_size": POPULATION, "perturbation_interval_epochs": 2, "quantile_fraction": 0.25}


@pytest.fixture
def config(write_study: Callable[..., str]) -> StudyConfig:
    return load_study_config(write_study(scheduler=PBT, budget={"trials": 40, "epochs": 8}))


def report(study: Study, number: int, num_epochs: int, error_pct: float) -> None:
    epochs = [
        EpochResult(epoch=epoch, loss=1.0, val_error_pct=error_pct, best_error_pct=error_pct, train_s=1.0, val_s=1.0)
        for epoch in range(1, num_epochs + 1)
    ]
    study.report(number, epochs)


def running_study(uri: str, config: StudyConfig) -> Study:
    """A population half way: trial 0 is complete, 1 and 2 lead, 7 is pruned; the error follows the number."""
    study = Study.start(uri, config, "f")
    for number in range(POPULATION):
        study.ask()
        report(study, number, 8 if number == 0 else 4, 1.0 + number)
    study.finish(0, "complete")
    study.finish(7, "pruned")
    return study


def test_later_trials_follow_one_of_the_best_and_change_only_explored_keys(config: StudyConfig, tmp_path: Path) -> None:
    study = running_study(str(tmp_path / "study"), config)
    parents, moved = set(), 0
    for _ in range(12):
        trial = study.ask()
        params = trial.params
        parent = study.trials[params["parent"]].params
        parents.add(params["parent"])
        assert params.keys() - {name for name in params if name.startswith("augment.")} == {
            name for name in parent if not name.startswith("augment.")
        }
        for name, value in params.items():
            if name != "parent" and not name.startswith(EXPLORED_KEYS):
                assert value == parent[name]
        moved += params["optimizer.lr"] != parent["optimizer.lr"]
        assert config.initial_params({name.partition("[")[0]: params[name] for name in params if name != "parent"})
    # Trial 0 is the best, but has no epochs left. Of the eight that reached epoch 4, two are among the best.
    assert parents == {1}
    assert moved == 12
    assert {study.trials[number].params["parent"] for number in range(POPULATION)} == {-1}


def test_resumed_population_has_the_same_parents(config: StudyConfig, tmp_path: Path) -> None:
    straight = running_study(str(tmp_path / "straight"), config)
    again = running_study(str(tmp_path / "again"), config)
    for _ in range(4):
        straight.ask()
        again.ask()
    again = resume_study(again.uri, config, "f")
    # Six initial trials and four others were running: they are resumed with the parents they had.
    resumed = [again.ask().params for _ in range(10)]
    assert resumed == [trial.params for trial in straight.trials if trial.number not in (0, 7)]


def test_copy_checkpoint_changes_the_configuration_alone(tiny_config: TrainConfig, tmp_path: Path) -> None:
    parent, child = str(tmp_path / "parent"), str(tmp_path / "child")
    run = Trainer(tiny_config, parent)
    run.train_epoch()
    run.save()
    optimizer = tiny_config.optimizer.model_copy(update={"lr": 9e-3})
    child_config = tiny_config.model_copy(update={"optimizer": optimizer})
    copy_checkpoint(parent, child, child_config)

    before, after = (read_checkpoint(f"{folder}/{LAST_NAME}") for folder in (parent, child))
    assert after.info.config == child_config
    assert before.tensors.keys() == after.tensors.keys()
    assert all((before.tensors[name] == tensor).all() for name, tensor in after.tensors.items())
    load_network(f"{child}/{BEST_NAME}")

    resumed = Trainer(child_config, child, resume=True)
    assert resumed.history == run.history
    assert resumed.train_epoch().epoch == 2
    resumed.save()
    copy_checkpoint(parent, child, child_config)  # as a search process does that resumes the trial
    assert Trainer(child_config, child, resume=True).num_epochs_done == 2


def test_copy_checkpoint_waits_for_the_upload(
    tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch is reported, and a child may be proposed, before the checkpoint is in object storage."""
    parent, child = f"memory://{uuid.uuid4().hex}", f"memory://{uuid.uuid4().hex}"
    run = Trainer(tiny_config, parent)
    run.train_epoch()
    run.save()
    run.flush()
    late = {name: storage.read_bytes(f"{parent}/{name}") for name in (BEST_NAME, LAST_NAME)}
    for name in late:
        storage.delete(f"{parent}/{name}")

    def arrive() -> None:
        for name, content in late.items():
            storage.write_bytes(f"{parent}/{name}", content)

    threading.Timer(0.5, arrive).start()
    copy_checkpoint(parent, child, tiny_config)
    assert storage.read_bytes(f"{child}/{LAST_NAME}")

    monkeypatch.setattr(pbt, "_UPLOAD_TIMEOUT_S", 0.3)
    with pytest.raises(FileNotFoundError):
        copy_checkpoint(f"memory://{uuid.uuid4().hex}", f"memory://{uuid.uuid4().hex}", tiny_config)


def test_searcher_copies_the_checkpoint_of_the_parent(
    config: StudyConfig, tmp_path: Path, tiny_config: TrainConfig
) -> None:
    study = running_study(str(tmp_path / "study"), config)
    parent = study.trials[1]
    data = {"data": tiny_config.data, "schedule": tiny_config.schedule, "compute": tiny_config.compute}
    run = Trainer(parent.config.model_copy(update=data), parent.folder)
    run.train_epoch()
    run.save()
    suggested = StudySearcher(study).suggest("any")
    assert suggested["number"] == POPULATION
    own = read_checkpoint(str(Path(study.trials[POPULATION].folder) / LAST_NAME)).info
    assert own.config.run_id == study.trials[POPULATION].run_id
    assert own.epoch == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": ["error", "parameters"]}, "scheduler pbt takes one objective"),
        ({"scheduler": {**PBT, "perturbation_interval_epochs": 9}}, "must be at most budget.epochs = 4"),
    ],
)
def test_pbt_with_unsuitable_options_is_refused(
    write_study: Callable[..., str], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        load_study_config(write_study(**{"scheduler": PBT, **changes}))
    assert message in str(raised.value)


def test_pbt_without_explored_keys_is_refused(document: Document, write_study: Callable[..., str]) -> None:
    document["search"] = {"model.branches": {"int": [2, 6]}}
    document["initial_trials"] = []
    with pytest.raises(ConfigError, match=r"changes augment.… and optimizer.lr, but none of them is searched"):
        load_study_config(write_study(scheduler=PBT))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_population_with_two_workers_per_trial_resumes_after_their_death(
    ray_cluster: None, synthetic_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later trials follow a parent, and no trial starts again at epoch 1 after its second worker was killed."""
    document = {
        "study": {"name": "pairs"},
        "base": {
            "data": {"uri": synthetic_uri},
            "input": {"size_px": 40},
            "model": {"name": "rcn", "branches": 2, "channels": 8},
            "schedule": {"batch_size": 16},
            "validation": {"augment": False},
            "compute": {"precision": "fp32", "channels_last": False},
        },
        "search": {
            "model.channels": {"choice": [8, 32]},  # those that do not learn are slow, and arrive last
            "optimizer.lr": {"float": [1e-7, 1e-1], "log": True},
        },
        "initial_trials": [
            {"model.channels": channels, "optimizer.lr": lr} for channels, lr in ((8, 1e-2), (32, 1e-6), (32, 1e-6))
        ],
        "budget": {"trials": 5, "epochs": 16, "max_concurrent": 2, "workers_per_trial": 2, "cpus_per_trial": 0.5},
        "scheduler": {"name": "pbt", "population_size": 3, "perturbation_interval_epochs": 2, "quantile_fraction": 0.5},
        "sampler": {"name": "random"},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(document))
    reported: dict[int, list[int]] = {}
    killed: list[int] = []
    report = StudyRecorder.on_trial_result

    def kill(recorder: Any, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
        report(recorder, iteration, trials, trial, result, **info)
        number = trial.config["number"]
        reported.setdefault(number, []).append(result["epoch"])
        if number > 2 and not killed:
            killed.extend(second_workers())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(StudyRecorder, "on_trial_result", kill)
    request = StudyRequest(study_file=str(tmp_path / "study.yaml"), study_uri=str(tmp_path / "study"))
    study = run_search(request, console=Console(file=io.StringIO(), width=160)).study

    assert killed
    assert {trial.state for trial in study.trials} <= {"complete", "pruned"}
    followers = [trial for trial in study.trials if trial.params["parent"] >= 0]
    assert followers
    for trial in study.trials:
        assert list(trial.epochs) == list(range(1, len(trial.epochs) + 1))
        assert reported[trial.number] == sorted(set(reported[trial.number]))
        assert read_checkpoint(f"{trial.folder}/{LAST_NAME}").info.state["num_workers"] == 2
    for trial in followers:
        parent, own_first = study.trials[trial.params["parent"]], reported[trial.number][0]
        assert own_first > PBT["perturbation_interval_epochs"]  # the first report to Tune includes the parent's epochs
        shared, own = list(range(1, own_first)), list(range(own_first, len(trial.epochs) + 1))
        assert [errors(trial)[epoch] for epoch in shared] == [errors(parent)[epoch] for epoch in shared]
        train_config, history = trial.config, json.loads(Path(trial.folder, "history.json").read_text())
        assert train_config.model == parent.config.model
        assert train_config.optimizer.lr != parent.config.optimizer.lr or train_config.optimizer.lr in (1e-7, 1e-1)
        num_steps = 96 // 16 * train_config.schedule.epochs
        assert [history[epoch - 1]["lr"] for epoch in own] == pytest.approx(
            [learning_rate(6 * epoch - 1, num_steps, train_config.optimizer, train_config.schedule) for epoch in own]
        )


def errors(trial: Trial) -> dict[int, tuple[float, float]]:
    return {number: (epoch.loss, epoch.val_error_pct) for number, epoch in trial.epochs.items()}


def second_workers() -> list[int]:
    """Process numbers of the second workers of the trials that run in this process's Ray."""
    parents, workers = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone by now
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if b"ray::TrialWorker" in (folder / "cmdline").read_bytes():
                workers.append(int(folder.name))
    return [pid for pid in workers if parents.get(parents[pid]) == os.getpid()]
