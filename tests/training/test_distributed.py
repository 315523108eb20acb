"""Two real processes, connected by gloo, train one run; without Ray."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing
from torch.distributed import FileStore
from torch.multiprocessing.queue import Queue

from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import epoch_batches
from rcn_search.training import run_folder
from rcn_search.training.checkpoint import Checkpoint, read_checkpoint
from rcn_search.training.distributed import SINGLE_PROCESS, DistributedContext, join_group, leave_group
from rcn_search.training.exit_status import BEST_NAME, CONFIG_NAME, LAST_NAME, Interrupted
from rcn_search.training.run_folder import claim_run_folder, load_resumable_run
from rcn_search.training.trainer import Trainer

TIMEOUT_S = 120

TwoWorkers = Callable[..., list[Any]]


def work(rank: int, store: str, jobs: Queue[Any], results: Queue[Any]) -> None:
    """Train one run after another."""
    torch.set_num_threads(1)
    distributed = join_group(FileStore(store, 2), rank, 2, "cpu")
    while job := jobs.get():
        document, out, resume, stop_at = job
        config = TrainConfig.model_validate_json(document)
        results.put((rank, train(config, out, resume, stop_at, distributed)))
    leave_group()


def train(
    config: TrainConfig,
    out: str,
    resume: bool = False,
    stop_at: int | None = None,
    distributed: DistributedContext = SINGLE_PROCESS,
) -> Any:
    """Train a run; return its losses and errors, or the message of the interruption. Only worker 0 is asked to stop."""
    steps = []
    run = Trainer(
        config,
        out,
        resume=resume,
        should_stop=lambda: distributed.is_first and stop_at is not None and len(steps) >= stop_at,
        on_step=lambda step, num_steps: steps.append(step),
        distributed=distributed,
    )
    try:
        run.train()
    except Interrupted as interruption:
        return str(interruption)
    return [(report.epoch, report.loss, report.val_error_pct) for report in run.history]


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoWorkers]:
    """Two connected processes; call them with a configuration to train it."""
    context = multiprocessing.get_context("spawn")
    jobs, results = [context.Queue(), context.Queue()], context.Queue()
    store = str(tmp_path_factory.mktemp("store") / "file")
    processes = [context.Process(target=work, args=(rank, store, jobs[rank], results)) for rank in range(2)]
    for process in processes:
        process.start()

    def both(config: TrainConfig, out: Path, *, resume: bool = False, stop_at: int | None = None) -> list[Any]:
        for queue in jobs:
            queue.put((config.model_dump_json(), str(out), resume, stop_at))
        return [result for _, result in sorted(results.get(timeout=TIMEOUT_S) for _ in processes)]

    yield both
    for queue in jobs:
        queue.put(None)
    for process in processes:
        process.join(TIMEOUT_S)
        assert process.exitcode == 0


def changed(config: TrainConfig, **sections: Any) -> TrainConfig:
    """Configuration of a tiny network; by default the last of three batches has one image, so one worker has none.

    AdaDelta makes small steps of small gradients; with the other optimizers rounding errors grow.
    """
    document = config.model_dump()
    small: dict[str, Any] = {
        "data": {"num_train": 33},
        "input": {"size_px": 40},
        "schedule": {"batch_size": 16},
        "optimizer": {"name": "adadelta", "lr": 0.1, "weight_decay": 0.0},
    }
    for name in small.keys() | sections.keys():
        document[name] = {**document[name], **small.get(name, {}), **sections.get(name, {})}
    return TrainConfig.model_validate({**document, **({"model": sections["model"]} if "model" in sections else {})})


def saved(out: Path, name: str = LAST_NAME) -> Checkpoint:
    return read_checkpoint(str(out / name))


def assert_same(actual: Path, expected: Path) -> None:
    """Check that two runs have the same checkpoints, apart from rounding.

    A softmax does not depend on the biases of its maps, so their gradients are rounding errors: hence the constant.
    """
    for name in (LAST_NAME, BEST_NAME):
        one, two = saved(expected, name), saved(actual, name)
        assert one.info.epoch == two.info.epoch
        assert one.tensors.keys() == two.tensors.keys()
        for key, tensor in one.tensors.items():
            within = 1e-2 * float(tensor.float().abs().max()) + 1e-5
            assert float((two.tensors[key] - tensor).float().abs().max()) < within, key


CASES: dict[str, dict[str, Any]] = {
    "even batches": {"data": {"num_train": 32}},
    "both validate": {"data": {"val_split": "train"}},
    "points that do not count": {"loss": {"points_outside": "ignore"}, "augment": {"translate": 0.5}},
    "attributes": {
        "model": {"name": "tcdcn", "auxiliary": True, "task_stop_threshold": 0.5},
        "schedule": {"epochs": 7},
        "loss": {"points_outside": "ignore"},
    },
    # With small kernels, which are convolved directly. At first most maps are zero; a Fourier transform would add
    # rounding errors, of which different parts pass a ReLU in different batches.
    "denoiser": {"model": {"name": "denoiser", "num_corrupted_points": 2, "channels": 4, "kernel_px": 5}},
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow) if case == "denoiser" else case for case in CASES]
)
def test_train_with_two_workers_equals_one(
    two_workers: TwoWorkers, tiny_config: TrainConfig, tmp_path: Path, case: str
) -> None:
    config = changed(tiny_config, **CASES[case])
    alone = train(config, str(tmp_path / "one"))
    first, second = two_workers(config, tmp_path / "two")
    assert first == second
    for actual, expected in zip(first, alone, strict=True):
        assert actual == pytest.approx(expected, rel=1e-4)
    assert_same(tmp_path / "two", tmp_path / "one")
    stopping = [saved(tmp_path / name).info.state["task_stopping"] for name in ("one", "two")]
    assert stopping[0]["dropped"] == stopping[1]["dropped"]


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_train_with_two_workers_and_other_optimizers_has_the_same_loss(
    two_workers: TwoWorkers, tiny_config: TrainConfig, tmp_path: Path, name: str
) -> None:
    """They make large steps of small gradients, so that rounding errors grow: the loss is the same for two epochs."""
    config = changed(tiny_config, optimizer={"name": name, "lr": 1e-3})
    alone = train(config, str(tmp_path / "one"))
    first, _ = two_workers(config, tmp_path / "two")
    assert first[0][1] == pytest.approx(alone[0][1], rel=1e-3)
    assert first[1][1] == pytest.approx(alone[1][1], rel=1e-2)


def test_train_resumed_by_another_number_of_workers_equals_one(
    two_workers: TwoWorkers, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    """Two workers, then one, then two again; each is stopped within an epoch."""
    config = changed(tiny_config, schedule={"epochs": 3})
    alone = train(config, str(tmp_path / "one"))
    out = tmp_path / "several"
    assert two_workers(config, out, stop_at=1) == ["stopped after 1 of 3 steps of epoch 1"] * 2
    assert saved(out).info.state["num_workers"] == 2
    assert train(config, str(out), True, 4) == "stopped after 2 of 3 steps of epoch 2"
    first, second = two_workers(config, out, resume=True)
    assert first == second
    assert [epoch for epoch, *_ in first] == [1, 2, 3]
    for actual, expected in zip(first, alone, strict=True):
        assert actual == pytest.approx(expected, rel=1e-4)
    assert_same(out, tmp_path / "one")


def test_trainer_with_batch_contrast_and_two_workers_is_refused(tiny_config: TrainConfig, tmp_path: Path) -> None:
    config = changed(tiny_config, input={"contrast_normalization": "batch"})
    with pytest.raises(ValueError, match=r"set input\.contrast_normalization to image"):
        Trainer(config, str(tmp_path), distributed=DistributedContext(0, 2))


def test_run_folder_that_is_not_shared_is_refused(
    tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, second = str(tmp_path / "run"), DistributedContext(1, 2)
    monkeypatch.setattr(run_folder, "_VISIBLE_WITHIN_S", 0)
    monkeypatch.setattr(DistributedContext, "broadcast_text", lambda self, text: "7 steps")
    with pytest.raises(ValueError, match=f"{out} is not one folder for all workers: worker 0 sees 7 steps, "):
        load_resumable_run(out, tiny_config, "f", second, resume=True)
    monkeypatch.setattr(DistributedContext, "broadcast_text", lambda self, text: "a run")
    with pytest.raises(ValueError, match=f"{out} is not one folder for all workers: worker 0 sees a run, "):
        claim_run_folder(out, tiny_config, second, resume=True)
    assert not (tmp_path / "run").exists()


def test_claim_run_folder_waits_for_files_of_another_machine(
    tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "_POLL_INTERVAL_S", 0.05)
    monkeypatch.setattr(DistributedContext, "broadcast_text", lambda self, text: "a run")
    out = str(tmp_path / "run")
    threading.Timer(0.3, claim_run_folder, (out, tiny_config, SINGLE_PROCESS), {"resume": False}).start()
    claim_run_folder(out, tiny_config, DistributedContext(1, 2), resume=True)
    assert (tmp_path / "run" / CONFIG_NAME).exists()


def test_epoch_batches_of_two_ranks_cover_a_batch_of_one_image() -> None:
    batches = epoch_batches(65, 32, seed=3, epoch=1)
    parts = [epoch_batches(65, 32, seed=3, epoch=1, rank=rank, num_ranks=2) for rank in range(2)]
    assert [len(part[-1]) for part in parts] == [1, 0]
    for batch, *shares in zip(batches, *parts, strict=True):
        assert sorted(batch.tolist()) == sorted(torch.cat(shares).tolist())
