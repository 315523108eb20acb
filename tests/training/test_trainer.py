from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import open_dataset
from rcn_search.errors import RcnSearchError
from rcn_search.training.checkpoint import CheckpointError, read_checkpoint
from rcn_search.training.distributed import SINGLE_PROCESS
from rcn_search.training.exit_status import BEST_NAME, LAST_NAME, Interrupted, TrainingFailed
from rcn_search.training.run_folder import RunExistsError, claim_run_folder
from rcn_search.training.trainer import Trainer
from tests.support.checkpoints import write_checkpoint


def changed(config: TrainConfig, **sections: object) -> TrainConfig:
    document = config.model_dump()
    for name, section in sections.items():
        document[name] = {**document[name], **section} if isinstance(section, dict) else section
    return TrainConfig.model_validate(document)


class StopAfter:
    """Returns true after the given number of steps."""

    def __init__(self, num_steps: int) -> None:
        self.left = num_steps

    def on_step(self, step: int, num_steps: int) -> None:
        self.left -= 1

    def __call__(self) -> bool:
        return self.left <= 0


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"optimizer": {"name": "adamw"}},
        {"optimizer": {"name": "adadelta", "lr": 1.0, "weight_decay": 0.0}, "schedule": {"ema_decay": 0.0}},
        {"model": {"name": "sumnet", "branches": 4, "channels": 8}},
        {"model": {"name": "tcdcn", "auxiliary": True}},
        {"compute": {"precision": "bf16", "channels_last": True}},
    ],
    ids=["muon", "adamw", "adadelta", "sumnet", "tcdcn", "bf16"],
)
@pytest.mark.parametrize("stop_at", [2, 3, 4])
def test_train_resumed_is_bit_identical(
    tiny_config: TrainConfig, tmp_path: Path, sections: dict[str, dict[str, Any]], stop_at: int
) -> None:
    if "model" in sections:
        config = TrainConfig.model_validate(tiny_config.model_dump() | sections)
    else:
        config = changed(tiny_config, **sections)
    straight = Trainer(config, str(tmp_path / "straight"))
    straight.train()
    stop = StopAfter(stop_at)
    with pytest.raises(Interrupted):
        Trainer(config, str(tmp_path / "stopped"), should_stop=stop, on_step=stop.on_step).train()
    resumed = Trainer(config, str(tmp_path / "stopped"), resume=True)
    assert resumed.state.num_steps_done == stop_at
    resumed.train()

    assert [(r.loss, r.val_error_pct) for r in resumed.history] == [(r.loss, r.val_error_pct) for r in straight.history]
    for name in (BEST_NAME, LAST_NAME):
        a, b = (read_checkpoint(str(tmp_path / folder / name)).tensors for folder in ("straight", "stopped"))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_train_lowers_the_loss(tiny_config: TrainConfig, tmp_path: Path) -> None:
    config = changed(
        tiny_config,
        schedule={"epochs": 12, "ema_decay": 0.0},
        augment={"rotate_deg": 0, "occluder": {"min_px": 0, "max_px": 0}},
        model={"branches": 5, "channels": 16},
    )
    run = Trainer(config, str(tmp_path / "run"))
    run.train()
    assert run.history[-1].loss < 0.7 * run.history[0].loss
    assert run.best_error_pct == min(r.val_error_pct for r in run.history if r.val_error_pct is not None)


def test_best_checkpoint_is_of_the_best_epoch(tiny_config: TrainConfig, tmp_path: Path) -> None:
    run = Trainer(changed(tiny_config, schedule={"epochs": 4}), str(tmp_path / "run"))
    run.train()
    best = min(run.history, key=lambda report: report.val_error_pct or 0)
    info = read_checkpoint(str(tmp_path / "run" / BEST_NAME)).info
    assert (info.epoch, info.val_error_pct) == (best.epoch, best.val_error_pct)
    assert json.loads((tmp_path / "run" / "history.json").read_text())[-1]["epoch"] == 4


def test_trainer_without_resume_refuses_an_existing_run(tiny_config: TrainConfig, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    Trainer(tiny_config, out).train()
    with pytest.raises(RunExistsError, match="resume it with --resume"):
        Trainer(tiny_config, out)
    with pytest.raises(RunExistsError, match=r"what differs:\n  "):
        Trainer(changed(tiny_config, seed=1), out, resume=True)
    assert Trainer(tiny_config, out, resume=True).is_done


def test_trainer_resume_of_another_configuration_lists_the_keys_that_differ(
    tiny_config: TrainConfig, tmp_path: Path
) -> None:
    claim_run_folder(str(tmp_path), tiny_config, SINGLE_PROCESS, resume=False)
    other = changed(tiny_config, seed=3, optimizer={"lr": 0.5}, compute={"threads": 2})
    with pytest.raises(RunExistsError) as raised:
        Trainer(other, str(tmp_path), resume=True)
    lines = str(raised.value).splitlines()
    assert lines[0] == f"{tmp_path} holds run {tiny_config.run_id}, and this is run {other.run_id}; what differs:"
    assert lines[1:3] == [f"  optimizer.lr: {tiny_config.optimizer.lr} → 0.5", "  seed: 0 → 3"]
    assert lines[3] == "Give the same file and the same --set as when the run was started, or choose another folder"


@pytest.mark.parametrize("content", ["[]", "{}", "5", "{", "[" * 100_000, '{"run_id": 5, "config": {}}'])
def test_trainer_resume_with_a_damaged_config_json_names_it(
    tiny_config: TrainConfig, tmp_path: Path, content: str
) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RcnSearchError, match=r"config\.json is damaged: .*; restore it from a copy, or choose another"):
        Trainer(tiny_config, str(tmp_path), resume=True)


def rewrite_state(path: Path, **changes: object) -> None:
    """Change the state in the header of last.safetensors; None removes a key."""
    info, tensors = read_checkpoint(str(path))
    state = {key: value for key, value in {**info.state, **changes}.items() if value is not None}
    write_checkpoint(str(path), info.model_copy(update={"state": state}), tensors)


def test_trainer_resume_from_a_damaged_last_checkpoint_names_it(tiny_config: TrainConfig, tmp_path: Path) -> None:
    Trainer(tiny_config, str(tmp_path)).train()
    last, best = tmp_path / "last.safetensors", tmp_path / "best.safetensors"
    sound = last.read_bytes()
    history = read_checkpoint(str(last)).info.state["history"]
    problems: dict[str, dict[str, object]] = {
        "state: steps_done: field required": {"steps_done": None},
        "state: steps_done = -1: ": {"steps_done": -1},
        "state: steps_done = True: ": {"steps_done": True},
        "state: history.0 = 5: ": {"history": [5]},
        "state: its history begins with epoch 2, which is never the first one": {"history": history[1:]},
        "state: epoch 1 of its history stands where epoch 2 is expected": {"history": [history[0], history[0]]},
        "state: settings: field required": {"settings": None},
        "state: partial_s = -1.0: ": {"partial_s": -1.0},
        "3 steps are 1 epochs, and its history has 2": {"steps_done": 3},
    }
    for problem, changes in problems.items():
        last.write_bytes(sound)
        rewrite_state(last, **changes)
        with pytest.raises(CheckpointError, match=re.escape(problem)) as raised:
            Trainer(tiny_config, str(tmp_path), resume=True)
        assert str(raised.value).startswith(f"{last} is damaged: ")
    last.write_bytes(best.read_bytes())
    with pytest.raises(CheckpointError, match=r"last\.safetensors holds weights alone, as best\.safetensors does"):
        Trainer(tiny_config, str(tmp_path), resume=True)
    last.write_bytes(sound)
    info, tensors = read_checkpoint(str(last))
    write_checkpoint(str(last), info, {name: each for name, each in tensors.items() if not name.startswith("optim.")})
    with pytest.raises(CheckpointError, match="it has no state of the optimizer after"):
        Trainer(tiny_config, str(tmp_path), resume=True)
    other = info.model_copy(update={"config": changed(tiny_config, seed=9)})
    write_checkpoint(str(last), other, tensors)
    with pytest.raises(CheckpointError, match=rf"is of run {other.config.run_id}, not of run {tiny_config.run_id}"):
        Trainer(tiny_config, str(tmp_path), resume=True)


def test_trainer_resume_on_other_data_is_refused(tiny_config: TrainConfig, mtfl_uri: str, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    config = changed(tiny_config, schedule={"batch_size": 8, "epochs": 1})
    Trainer(config, out).train()
    other_data = changed(config, data={"uri": mtfl_uri})
    assert other_data.run_id == config.run_id
    with pytest.raises(RunExistsError, match="was trained on data with fingerprint"):
        Trainer(other_data, out, resume=True)


def test_train_with_nan_loss_fails_with_a_reason(tiny_config: TrainConfig, tmp_path: Path) -> None:
    config = changed(
        tiny_config,
        optimizer={"name": "adamw", "lr": 10.0},
        schedule={"lr_schedule": "constant", "ema_decay": 0.0, "epochs": 50},
    )
    run = Trainer(config, str(tmp_path / "run"))
    with torch.no_grad():
        next(run.state.network.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingFailed, match=r"the loss became nan in epoch 1; try a lower optimizer\.lr"):
        run.train()


@pytest.mark.parametrize("stop_at", [1, 100])
def test_train_never_saves_a_nan_loss(tiny_config: TrainConfig, tmp_path: Path, stop_at: int) -> None:
    """Neither at the end of an epoch nor when it is interrupted; the run can be resumed from the checkpoint before."""
    steps: list[int] = []
    run = Trainer(
        tiny_config,
        str(tmp_path / "run"),
        should_stop=lambda: len(steps) >= stop_at,
        on_step=lambda step, num_steps: steps.append(step),
    )
    run.save()
    before = (tmp_path / "run" / LAST_NAME).read_bytes()
    with torch.no_grad():
        next(run.state.network.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingFailed, match="the loss became nan in epoch 1"):
        run.train()
    assert (tmp_path / "run" / LAST_NAME).read_bytes() == before
    assert Trainer(tiny_config, str(tmp_path / "run"), resume=True).num_epochs_done == 0


def test_train_epoch_has_its_own_order_and_random_numbers(
    tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Trainer(changed(tiny_config, schedule={"epochs": 2}), str(tmp_path / "run"))
    steps: list[tuple[torch.Tensor, torch.Tensor]] = []
    train_step = run.state.train_step

    def step(rows_b: torch.Tensor, draws_bd: torch.Tensor, batch_size: int) -> torch.Tensor:
        steps.append((rows_b, draws_bd))
        return train_step(rows_b, draws_bd, batch_size)

    monkeypatch.setattr(run.state, "train_step", step)
    run.train()
    orders, tables = zip(
        *(
            (torch.cat([rows for rows, _ in epoch]), torch.cat([draws for _, draws in epoch]))
            for epoch in (steps[: len(steps) // 2], steps[len(steps) // 2 :])
        ),
        strict=True,
    )
    assert torch.equal(orders[0].sort().values, orders[1].sort().values)
    assert (orders[0] != orders[1]).float().mean() > 0.5
    draws_by_row = [table[order.argsort()] for order, table in zip(orders, tables, strict=True)]
    assert (draws_by_row[0] != draws_by_row[1]).float().mean() > 0.9


def test_save_on_full_disk_keeps_the_old_checkpoint(
    tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Trainer(tiny_config, str(tmp_path / "run"))
    run.train_epoch()
    run.save()
    before = (tmp_path / "run" / LAST_NAME).read_bytes()
    run.train_epoch()
    monkeypatch.setattr(Path, "open", full_disk(Path.open))
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/run/(best|last)\.safetensors'"):
        run.save()
    monkeypatch.undo()
    assert (tmp_path / "run" / LAST_NAME).read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.name.endswith(".tmp")) == []


def full_disk(open_path: Callable[..., IO[Any]]) -> Callable[..., Any]:
    """Replacement of Path.open for a disk with room for one kilobyte."""

    class Limited:
        def __init__(self, stream: IO[bytes]) -> None:
            self.stream = stream

        def __enter__(self) -> Limited:
            return self

        def __exit__(self, *_: object) -> None:
            self.stream.close()

        def write(self, content: bytes) -> None:
            self.stream.write(content[:1024])
            raise OSError(28, "No space left on device")

    def opened(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        stream = open_path(path, mode, *args, **kwargs)
        return Limited(stream) if "x" in mode else stream

    return opened


def test_trainer_with_num_train_uses_the_first_rows(tiny_config: TrainConfig, tmp_path: Path) -> None:
    run = Trainer(changed(tiny_config, data={"num_train": 40, "num_val": 10}), str(tmp_path / "run"))
    assert run.steps_per_epoch == 2
    assert sum(len(batch.inputs) for batch in run.validator.batches) == 10
    with pytest.raises(ValueError, match="1,000 rows of the split 'train'"):
        Trainer(changed(tiny_config, data={"num_train": 1000}), str(tmp_path / "too-many"))


def test_trainer_in_reused_process_opens_the_data_once(tiny_config: TrainConfig, tmp_path: Path) -> None:
    first = Trainer(tiny_config, str(tmp_path / "a"))
    second = Trainer(tiny_config, str(tmp_path / "b"))
    assert first.state.split is second.state.split
    assert open_dataset(tiny_config.data.uri).split("train") is first.state.split


def test_trainer_resume_of_damaged_checkpoint_is_refused(tiny_config: TrainConfig, tmp_path: Path) -> None:
    run = Trainer(tiny_config, str(tmp_path / "run"))
    run.train_epoch()
    run.save()
    path = tmp_path / "run" / LAST_NAME
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"last.safetensors is not a readable safetensors file"):
        Trainer(tiny_config, str(tmp_path / "run"), resume=True)
    shutil.rmtree(tmp_path / "run")
    assert not Trainer(tiny_config, str(tmp_path / "run"), resume=True).num_epochs_done


def test_train_saves_every_epoch_if_configured(tiny_config: TrainConfig, tmp_path: Path) -> None:
    Trainer(tiny_config, str(tmp_path / "best")).train()
    assert not list((tmp_path / "best").glob("epoch-*"))
    every = Trainer(changed(tiny_config, validation={"save": "every"}), str(tmp_path / "every"))
    every.train()
    assert every.config.run_id == tiny_config.run_id
    names = [path.name for path in sorted((tmp_path / "every").glob("epoch-*"))]
    assert names == ["epoch-0001.safetensors", "epoch-0002.safetensors"]
    second = read_checkpoint(str(tmp_path / "every" / names[1]))
    assert (second.info.epoch, second.info.val_error_pct) == (2, every.history[1].val_error_pct)
    best = read_checkpoint(str(tmp_path / "every" / BEST_NAME))
    assert (second.info.epoch == best.info.epoch) == (every.best_error_pct == second.info.val_error_pct)


def test_train_can_ignore_points_outside(tiny_config: TrainConfig, tmp_path: Path) -> None:
    """With strong augmentation some points leave the window, which changes the loss."""
    augment = {"translate": 0.5}
    losses = [
        Trainer(changed(tiny_config, augment=augment, loss={"points_outside": outside}), str(tmp_path / outside))
        .train_epoch()
        .loss
        for outside in ("border", "ignore")
    ]
    assert losses[0] != losses[1]
