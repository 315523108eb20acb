"""Trainings with several workers through real Ray."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from rich.console import Console

from rcn_search.cluster.runtime import CapacityError, ClusterResources
from rcn_search.cluster.status_channel import RunStarted, StatusChannel, StatusMessage, StepDone
from rcn_search.cluster.train_distributed import WorkerPlan, plan_workers, train_with_workers
from rcn_search.config.schema import TrainConfig
from rcn_search.search.open_or_resume import StudyRequest
from rcn_search.search.run_search import run_search
from rcn_search.search.tune_searcher import StudyRecorder
from rcn_search.training.checkpoint import read_checkpoint
from rcn_search.training.epoch_report import EpochReport
from rcn_search.training.exit_status import LAST_NAME, Interrupted
from rcn_search.training.trainer import Trainer


def changed(config: TrainConfig, **sections: Any) -> TrainConfig:
    document = config.model_dump()
    for name, section in sections.items():
        document[name] = {**document[name], **section}
    return TrainConfig.model_validate(document)


@pytest.mark.parametrize("is_fixed", [True, False])
@pytest.mark.parametrize(
    ("nodes", "threads", "device", "num_workers", "cpus", "gpus"),
    [
        ([{"CPU": 2}], "auto", "auto", 2, 1, 0),
        ([{"CPU": 8}], "auto", "auto", 2, 4, 0),
        ([{"CPU": 3}, {"CPU": 3}], "auto", "auto", 3, 1, 0),  # two of two CPUs fit, but not a third
        ([{"CPU": 8}], 2, "auto", 3, 2, 0),
        ([{"CPU": 16, "GPU": 2}], "auto", "auto", 2, 8, 1),
        ([{"CPU": 16, "GPU": 1}], "auto", "cpu", 4, 4, 0),
    ],
)
def test_plan_workers_shares_the_nodes(tiny_config, nodes, threads, device, num_workers, cpus, gpus, is_fixed):
    config = changed(tiny_config, compute={"threads": threads, "device": device})
    cluster = ClusterResources(tuple(nodes), is_fixed)
    assert plan_workers(cluster, config, num_workers) == WorkerPlan(num_workers, cpus, gpus, cluster)


@pytest.mark.parametrize(("device", "gpus", "num_fitting"), [("auto", 0, 1), ("cpu", 0, 1), ("cuda", 1, 0)])
def test_plan_workers_growing_cluster_waits_for_workers_of_a_given_size(tiny_config, device, gpus, num_fitting):
    growing = ClusterResources(({"CPU": 4},))
    config = changed(tiny_config, compute={"threads": 4, "device": device})
    plan = plan_workers(growing, config, 3)
    assert plan == WorkerPlan(3, 4, gpus, growing)
    assert f"on 4 CPU, 0 GPU: {num_fitting} fit now, waiting for the cluster to scale up" in str(plan)
    with pytest.raises(CapacityError, match=r"starts nodes on demand, set compute\.threads to a number"):
        plan_workers(growing, changed(config, compute={"threads": "auto"}), 5)
    with pytest.raises(CapacityError, match=f"only {num_fitting} fit on the cluster"):
        plan_workers(dataclasses.replace(growing, is_fixed=True), config, 3)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([{"CPU": 2}], r"4 workers need 1 CPU and 0 GPU each, but only 2 fit on the cluster \(2 CPU, 0 GPU\); lower"),
        ([{"CPU": 16, "GPU": 1}], r"only 1 fit .*\(16 CPU, 1 GPU\); lower --workers, or set compute.device to cpu"),
        ([{"CPU": 0}], "only 0 fit"),
    ],
)
def test_plan_workers_that_never_fit_are_refused_with_the_numbers(tiny_config, nodes, words):
    with pytest.raises(CapacityError, match=words):
        plan_workers(ClusterResources(tuple(nodes), is_fixed=True), tiny_config, 4)


def run(
    config: TrainConfig, out: Path, on_epoch: Callable[[EpochReport], None] = lambda report: None, **options: Any
) -> tuple[list[EpochReport], list[WorkerPlan | StatusMessage]]:
    """The history of a training with two workers, and its messages except those of steps."""
    messages: list[WorkerPlan | StatusMessage] = []

    def on_message(message: WorkerPlan | StatusMessage) -> None:
        if not isinstance(message, StepDone):
            messages.append(message)
        if isinstance(message, EpochReport):
            on_epoch(message)

    defaults: dict[str, Any] = {"resume": False, "should_stop": lambda: False}
    history = train_with_workers(config, str(out), num_workers=2, on_message=on_message, **{**defaults, **options})
    return history, messages


def worker_pids(name: str) -> list[int]:
    """Process ids of Ray's actors of that class among the descendants of this process."""
    parents, workers = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone by now
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if name.encode() in (folder / "cmdline").read_bytes():
                workers.append(int(folder.name))

    def is_ours(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and is_ours(parents[pid]))

    return [pid for pid in workers if is_ours(pid)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_train_with_workers_killed_worker_costs_at_most_an_epoch(ray_cluster, tiny_config, tmp_path):
    optimizer = {"name": "adadelta", "lr": 0.1, "weight_decay": 0.0}
    config = changed(tiny_config, schedule={"epochs": 8}, optimizer=optimizer, checkpoint={"every_s": 0})
    killed: list[int] = []

    def kill(report: Any) -> None:
        if report.epoch == 2 and not killed:
            killed.append(worker_pids("RayTrainWorker")[-1])
            os.kill(killed[0], signal.SIGKILL)

    history, messages = run(config, tmp_path / "two", kill)
    assert killed
    assert [report.epoch for report in history] == list(range(1, 9))
    first, second = (message for message in messages if isinstance(message, RunStarted))
    assert not first.history
    assert 2 <= len(second.history) < 8  # it went on from the last checkpoint
    assert [json.loads((tmp_path / "two/history.json").read_text())[-1]["epoch"]] == [8]

    alone = Trainer(config, str(tmp_path / "one"))
    alone.train()
    assert [report.loss for report in history] == pytest.approx([report.loss for report in alone.history], rel=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_train_with_workers_stops_resumes_and_reports_user_errors(ray_cluster, tiny_config, tmp_path):
    config, out = changed(tiny_config, schedule={"epochs": 6}), tmp_path / "run"
    seen: list[Any] = []
    with pytest.raises(Interrupted, match="stopped after"):
        run(config, out, seen.append, should_stop=lambda: len(seen) >= 2)
    with pytest.raises(ValueError, match="resume it with --resume"):
        run(config, out)
    history, messages = run(config, out, resume=True)
    assert [report.epoch for report in history] == list(range(1, 7))
    (started,) = (message for message in messages if isinstance(message, RunStarted))
    assert 2 <= len(started.history) < 6


def test_train_with_workers_stopped_while_waiting_ends_at_once(ray_cluster, tiny_config, tmp_path):
    busy = ray.remote(num_cpus=1)(StatusChannel).remote()
    ray.get(busy.__ray_ready__.remote())
    started = time.monotonic()
    with pytest.raises(Interrupted, match="before the workers had started"):
        run(tiny_config, tmp_path / "run", should_stop=lambda: time.monotonic() - started > 2)
    assert time.monotonic() - started < 120  # Ray Train itself would wait for them for 900 s
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_run_search_two_workers_per_trial_survives_a_killed_worker(ray_cluster, synthetic_uri, tmp_path, monkeypatch):
    """One trial is pruned, one fails, and a worker of the first is killed: the other trials are not affected."""
    points = [(1e-2, "train"), (1e-7, "train"), (1e-2, "nowhere"), (2e-2, "train")]
    document = {
        "study": {"name": "pairs"},
        "base": {
            "data": {"uri": synthetic_uri},
            "input": {"size_px": 40},
            "checkpoint": {"every_s": 0},
            "model": {"name": "rcn", "branches": 2, "channels": 8},
            "schedule": {"batch_size": 16},
            "validation": {"augment": False},
            "compute": {"precision": "fp32", "channels_last": False},
        },
        "search": {
            "optimizer.lr": {"float": [1e-7, 1e-1], "log": True},
            "data.train_split": {"choice": ["train", "nowhere"]},
        },
        "initial_trials": [{"optimizer.lr": lr, "data.train_split": split} for lr, split in points],
        "budget": {"trials": 4, "epochs": 4, "max_concurrent": 1, "workers_per_trial": 2},
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
        "sampler": {"name": "random"},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(document))
    killed: list[int] = []
    report = StudyRecorder.on_trial_result

    def kill(recorder: Any, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
        report(recorder, iteration, trials, trial, result, **info)
        if not killed:
            killed.extend(worker_pids("ray::TrialWorker"))
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(StudyRecorder, "on_trial_result", kill)
    text = io.StringIO()
    request = StudyRequest(study_file=str(tmp_path / "study.yaml"), study_uri=str(tmp_path / "study"))
    study = run_search(request, console=Console(file=text, width=160)).study
    assert len(killed) == 1
    assert [trial.state for trial in study.trials] == ["complete", "pruned", "failed", "complete"]
    assert [list(trial.epochs) for trial in study.trials] == [[1, 2, 3, 4], [1], [], [1, 2, 3, 4]]
    assert "has no split 'nowhere'" in str(study.trials[2].result)
    assert "1 at once, 2 workers of 1 CPU, 0 GPU each" in text.getvalue()
    info = read_checkpoint(str(Path(study.trials[0].folder, LAST_NAME))).info
    assert info.state["num_workers"] == 2

    alone = Trainer(study.trials[3].config, str(tmp_path / "alone"))
    alone.train()
    losses = [epoch.loss for epoch in study.trials[3].epochs.values()]
    assert losses[:2] == pytest.approx([each.loss for each in alone.history][:2], rel=1e-2)
