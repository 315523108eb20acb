"""Two real processes that train one run, joined by gloo; no Ray."""

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
from rcn_search.training import run_folder as run_place
from rcn_search.training.checkpoint import Checkpoint, read_checkpoint
from rcn_search.training.distributed import DistributedContext, join_group, leave_group
from rcn_search.training.exit_status import BEST_NAME, CONFIG_NAME, LAST_NAME, Interrupted
from rcn_search.training.run_folder import claim_run_folder, load_resumable_run
from rcn_search.training.trainer import Trainer

PATIENCE_S = 120

Crew = Callable[..., list[Any]]


def work(rank: int, place: str, jobs: Queue[Any], results: Queue[Any]) -> None:
    """Train what is asked for, one run after another."""
    torch.set_num_threads(1)
    workers = join_group(FileStore(place, 2), rank, 2, "cpu")
    while job := jobs.get():
        document, out, resume, stop_at = job
        results.put((rank, one_job(TrainConfig.model_validate_json(document), out, resume, stop_at, workers)))
    leave_group()


def one_job(config: TrainConfig, out: str, resume: bool, stop_at: int | None, workers: DistributedContext) -> Any:
    """Losses of the run, or what it raised. Only the first worker is asked to stop."""
    steps = []
    run = Trainer(
        config,
        out,
        resume=resume,
        should_stop=lambda: workers.is_first and stop_at is not None and len(steps) >= stop_at,
        on_step=lambda step, num_steps: steps.append(step),
        distributed=workers,
    )
    try:
        run.train()
    except Interrupted as interruption:
        return str(interruption)
    return [(report.epoch, report.loss, report.val_error_pct) for report in run.history]


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """Two processes that have met and train what they are given, one run after another."""
    context = multiprocessing.get_context("spawn")
    jobs, results = [context.Queue(), context.Queue()], context.Queue()
    place = str(tmp_path_factory.mktemp("meeting") / "place")
    processes = [context.Process(target=work, args=(rank, place, jobs[rank], results)) for rank in range(2)]
    for process in processes:
        process.start()

    def both(config: TrainConfig, out: Path, *, resume: bool = False, stop_at: int | None = None) -> list[Any]:
        for queue in jobs:
            queue.put((config.model_dump_json(), str(out), resume, stop_at))
        return [result for _, result in sorted(results.get(timeout=PATIENCE_S) for _ in processes)]

    yield both
    for queue in jobs:
        queue.put(None)
    for process in processes:
        process.join(PATIENCE_S)
        assert process.exitcode == 0


def changed(config: TrainConfig, **sections: Any) -> TrainConfig:
    """A network that trains in a moment; by default the last of three batches holds one image, for one of two workers.

    Adadelta, for it makes small steps of small gradients: the others let roundings grow.
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


def assert_same(found: Path, expected: Path) -> None:
    """All that a run leaves behind is equal to rounding.

    A softmax does not depend on the biases of its maps, so that their gradients are rounding alone: hence the floor.
    """
    for name in (LAST_NAME, BEST_NAME):
        one, two = saved(expected, name), saved(found, name)
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
    # Of kernels that are convolved directly. Before the first step most maps are zero, a Fourier transform adds
    # rounding to that, and what of it passes a ReLU differs from batch to batch.
    "denoiser": {"model": {"name": "denoiser", "num_corrupted_points": 2, "channels": 4, "kernel_px": 5}},
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow) if case == "denoiser" else case for case in CASES]
)
def test_two_workers_train_as_one(crew: Crew, tiny_config: TrainConfig, tmp_path: Path, case: str) -> None:
    config = changed(tiny_config, **CASES[case])
    alone = one_job(config, str(tmp_path / "one"), False, None, DistributedContext())
    first, second = crew(config, tmp_path / "two")
    assert first == second
    for found, expected in zip(first, alone, strict=True):
        assert found == pytest.approx(expected, rel=1e-4)
    assert_same(tmp_path / "two", tmp_path / "one")
    stopping = [saved(tmp_path / name).info.state["task_stopping"] for name in ("one", "two")]
    assert stopping[0]["dropped"] == stopping[1]["dropped"]


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_other_optimisers_learn_the_same(crew: Crew, tiny_config: TrainConfig, tmp_path: Path, name: str) -> None:
    """They make large steps of small gradients, so that roundings grow: the loss stays the same for an epoch or two."""
    config = changed(tiny_config, optimizer={"name": name, "lr": 1e-3})
    alone = one_job(config, str(tmp_path / "one"), False, None, DistributedContext())
    first, _ = crew(config, tmp_path / "two")
    assert first[0][1] == pytest.approx(alone[0][1], rel=1e-3)
    assert first[1][1] == pytest.approx(alone[1][1], rel=1e-2)


def test_a_run_goes_on_with_another_number_of_workers(crew: Crew, tiny_config: TrainConfig, tmp_path: Path) -> None:
    """Two workers, then one, then two again; stopped within an epoch, where only one of them was asked."""
    config = changed(tiny_config, schedule={"epochs": 3})
    alone = one_job(config, str(tmp_path / "one"), False, None, DistributedContext())
    out = tmp_path / "several"
    assert crew(config, out, stop_at=1) == ["stopped after 1 of 3 steps of epoch 1"] * 2
    assert saved(out).info.state["num_workers"] == 2
    assert one_job(config, str(out), True, 4, DistributedContext()) == "stopped after 2 of 3 steps of epoch 2"
    first, second = crew(config, out, resume=True)
    assert first == second
    assert [epoch for epoch, *_ in first] == [1, 2, 3]
    for found, expected in zip(first, alone, strict=True):
        assert found == pytest.approx(expected, rel=1e-4)
    assert_same(out, tmp_path / "one")


def test_contrast_over_a_batch_is_not_for_several_workers(tiny_config: TrainConfig, tmp_path: Path) -> None:
    config = changed(tiny_config, input={"contrast_normalization": "batch"})
    with pytest.raises(ValueError, match=r"set input\.contrast_normalization to image"):
        Trainer(config, str(tmp_path), distributed=DistributedContext(0, 2))


def test_a_folder_that_is_not_shared_is_noticed(
    tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the second worker, which hears from the first what that one sees."""
    place, second = str(tmp_path / "run"), DistributedContext(1, 2)
    monkeypatch.setattr(run_place, "_SEEN_WITHIN_S", 0)
    monkeypatch.setattr(DistributedContext, "agreed", lambda self, text: "7 steps")
    with pytest.raises(ValueError, match=f"{place} is not one folder for all workers: the first sees 7 steps "):
        load_resumable_run(place, tiny_config, "f", second, resume=True)
    monkeypatch.setattr(DistributedContext, "agreed", lambda self, text: "a run")
    with pytest.raises(ValueError, match=f"{place} is not one folder for all workers: the first sees a run "):
        claim_run_folder(place, tiny_config, second, resume=True)
    assert not (tmp_path / "run").exists()


def test_a_shared_folder_may_show_later_what_another_machine_wrote(
    tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_place, "_LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(DistributedContext, "agreed", lambda self, text: "a run")
    threading.Timer(0.3, claim_run_folder, (str(tmp_path / "run"), tiny_config, DistributedContext()), {"resume": False}).start()
    claim_run_folder(str(tmp_path / "run"), tiny_config, DistributedContext(1, 2), resume=True)
    assert (tmp_path / "run" / CONFIG_NAME).exists()


def test_the_parts_of_a_batch_are_the_batch() -> None:
    whole = epoch_batches(65, 32, seed=3, epoch=1)
    parts = [epoch_batches(65, 32, seed=3, epoch=1, rank=rank, num_ranks=2) for rank in range(2)]
    assert [len(part[-1]) for part in parts] == [1, 0]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert sorted(batch.tolist()) == sorted(torch.cat(shares).tolist())
