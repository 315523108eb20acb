"""Population-based training: who is followed, what changes, and the checkpoint that is taken along."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from rcn_search import storage
from rcn_search.config.errors import ConfigError
from rcn_search.search.open_or_resume import StudyRequest
from rcn_search.search.run_search import run_search
from rcn_search.search.tune_searcher import StudyRecorder, StudySearcher
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import EpochResult
from rcn_search.study.samplers import pbt as population
from rcn_search.study.samplers.pbt import EXPLORED_KEYS, copy_checkpoint
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.training.checkpoint import load_network, read_checkpoint
from rcn_search.training.exit_status import BEST_NAME, LAST_NAME
from rcn_search.training.optim import learning_rate
from rcn_search.training.trainer import Trainer
from tests.support.studies import resume_study

POPULATION = 8
PBT = {"name": "pbt", "population_size": POPULATION, "perturbation_interval_epochs": 2, "quantile_fraction": 0.25}


@pytest.fixture
def space(write_study):
    return load_study_config(write_study(scheduler=PBT, budget={"trials": 40, "epochs": 8}))


def report(study: Study, number: int, num_epochs: int, error_pct: float) -> None:
    epochs = [
        EpochResult(epoch=epoch, loss=1.0, val_error_pct=error_pct, best_error_pct=error_pct, train_s=1.0, val_s=1.0)
        for epoch in range(1, num_epochs + 1)
    ]
    study.report(number, epochs)


def running(uri: str, space) -> Study:
    """A population half way: trial 0 is at its end, 1 and 2 lead, 7 was stopped; the error is the number."""
    study = Study.start(uri, space, data_fingerprint="f")
    for number in range(POPULATION):
        study.ask()
        report(study, number, 8 if number == 0 else 4, 1.0 + number)
    study.finish(0, "complete")
    study.finish(7, "pruned")
    return study


def test_who_starts_later_follows_one_of_the_best_and_changes_only_what_may_change(space, tmp_path):
    study = running(str(tmp_path / "study"), space)
    parents, moved = set(), 0
    for _ in range(12):
        trial = study.ask()
        params = trial.record.params
        parent = study.trials[params["parent"]].suggestion.params
        parents.add(params["parent"])
        assert params.keys() - {name for name in params if name.startswith("augment.")} == {
            name for name in parent if not name.startswith("augment.")
        }
        for name, value in params.items():
            if name != "parent" and not name.startswith(EXPLORED_KEYS):
                assert value == parent[name]
        moved += params["optimizer.lr"] != parent["optimizer.lr"]
        assert space.fixed({name.partition("[")[0]: params[name] for name in params if name != "parent"})
    # Trial 0 is the best and cannot be followed: it has no epoch left. Of eight that came to epoch 4, two are the best.
    assert parents == {1}
    assert moved == 12
    assert {study.trials[number].record.params["parent"] for number in range(POPULATION)} == {-1}


def test_a_population_that_is_gone_on_with_draws_the_same_parents(space, tmp_path):
    straight = running(str(tmp_path / "straight"), space)
    again = running(str(tmp_path / "again"), space)
    for _ in range(4):
        straight.ask()
        again.ask()
    again = resume_study(again.uri, space, data_fingerprint="f")
    # Six of the first and four others were running: they are taken up with the parents they had.
    taken_up = [again.ask().record.params for _ in range(10)]
    assert taken_up == [trial.record.params for trial in straight.trials if trial.number not in (0, 7)]


def test_a_checkpoint_is_taken_along(tiny_config, tmp_path):
    parent, child = str(tmp_path / "parent"), str(tmp_path / "child")
    run = Trainer(tiny_config, parent)
    run.train_epoch()
    run.save()
    optimizer = tiny_config.optimizer.model_copy(update={"lr": 9e-3})
    config = tiny_config.model_copy(update={"optimizer": optimizer})
    copy_checkpoint(parent, child, config)

    before, after = (read_checkpoint(f"{folder}/{LAST_NAME}") for folder in (parent, child))
    assert after.info.config == config
    assert before.tensors.keys() == after.tensors.keys()
    assert all((before.tensors[name] == tensor).all() for name, tensor in after.tensors.items())
    load_network(f"{child}/{BEST_NAME}")

    taken_up = Trainer(config, child, resume=True)
    assert taken_up.history == run.history
    assert taken_up.train_epoch().epoch == 2
    taken_up.save()
    copy_checkpoint(parent, child, config)  # as a driver does that takes the trial up again
    assert Trainer(config, child, resume=True).num_epochs_done == 2


def test_a_checkpoint_that_is_still_on_its_way_is_waited_for(tiny_config, tmp_path, monkeypatch):
    """An epoch is told, so that a child may be drawn, while its checkpoint is uploaded."""
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

    monkeypatch.setattr(population, "_ARRIVES_WITHIN_S", 0.3)
    with pytest.raises(FileNotFoundError):
        copy_checkpoint(f"memory://{uuid.uuid4().hex}", f"memory://{uuid.uuid4().hex}", tiny_config)


def test_the_searcher_hands_the_checkpoint_on(space, tmp_path, tiny_config):
    study = running(str(tmp_path / "study"), space)
    run = Trainer(tiny_config, study.trials[1].folder)
    run.train_epoch()
    run.save()
    config = StudySearcher(study).suggest("any")
    assert config["number"] == POPULATION
    own = read_checkpoint(str(Path(config["folder"]) / LAST_NAME)).info
    assert own.config.run_id == study.trials[POPULATION].record.run_id
    assert own.epoch == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": ["error", "parameters"]}, "scheduler pbt takes one objective"),
        ({"scheduler": {**PBT, "perturbation_interval_epochs": 9}}, "no more than budget.epochs = 4"),
    ],
)
def test_what_cannot_be_a_population_is_refused(write_study, changes, message):
    with pytest.raises(ConfigError) as raised:
        load_study_config(write_study(**{"scheduler": PBT, **changes}))
    assert message in str(raised.value)


def test_a_population_needs_something_to_explore(document, write_study):
    document["search"] = {"model.branches": {"int": [2, 6]}}
    document["initial_trials"] = []
    with pytest.raises(ConfigError, match=r"explores augment.… and optimizer.lr, and none of them is searched"):
        load_study_config(write_study(scheduler=PBT))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_population_whose_trials_have_two_workers_each(ray_cluster, synthetic_uri, tmp_path, monkeypatch):
    """Who comes later follows another. Once the second workers of all are killed: nobody begins again at epoch 1."""
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
            "model.channels": {"choice": [8, 32]},  # those that do not learn are slow, and come by last
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
    followers = [trial for trial in study.trials if trial.record.params["parent"] >= 0]
    assert followers
    for trial in study.trials:
        assert list(trial.epochs) == list(range(1, len(trial.epochs) + 1))
        assert reported[trial.number] == sorted(set(reported[trial.number]))
        assert read_checkpoint(f"{trial.folder}/{LAST_NAME}").info.state["num_workers"] == 2
    for trial in followers:
        parent, own_first = study.trials[trial.record.params["parent"]], reported[trial.number][0]
        assert own_first > PBT["perturbation_interval_epochs"]  # Tune hears of what the parent trained with it
        shared, own = list(range(1, own_first)), list(range(own_first, len(trial.epochs) + 1))
        assert [errors(trial)[epoch] for epoch in shared] == [errors(parent)[epoch] for epoch in shared]
        config, history = trial.record.config, json.loads(Path(trial.folder, "history.json").read_text())
        assert config.model == parent.suggestion.config.model
        assert config.optimizer.lr != parent.suggestion.config.optimizer.lr or config.optimizer.lr in (1e-7, 1e-1)
        num_steps = 96 // 16 * config.schedule.epochs
        assert [history[epoch - 1]["lr"] for epoch in own] == pytest.approx(
            [learning_rate(6 * epoch - 1, num_steps, config.optimizer, config.schedule) for epoch in own]
        )


def errors(trial: Trial) -> dict[int, tuple[float, float]]:
    return {number: (epoch.loss, epoch.val_error_pct) for number, epoch in trial.epochs.items()}


def second_workers() -> list[int]:
    """Of the trials that run in the Ray of this process."""
    parents, mates = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone by now
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if b"ray::Mate" in (folder / "cmdline").read_bytes():
                mates.append(int(folder.name))
    return [pid for pid in mates if parents.get(parents[pid]) == os.getpid()]
