from __future__ import annotations

import json
from pathlib import Path

import pytest

from rcn_search.config.schema import TrainConfig
from rcn_search.training import history, run_saver, run_state
from rcn_search.training.checkpoint import CheckpointError, read_checkpoint
from rcn_search.training.epoch_report import EpochReport
from rcn_search.training.exit_status import BEST_NAME, LAST_NAME
from rcn_search.training.history import is_part, num_parts, part_uris_before, read_history
from rcn_search.training.trainer import Trainer


@pytest.fixture
def parts_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Histories in parts of two epochs."""
    for module in (history, run_saver, run_state):
        monkeypatch.setattr(module, "PART_EPOCHS", 2)
    monkeypatch.setattr("rcn_search.training.trainer.PART_EPOCHS", 2)


def config_of(tiny_config: TrainConfig, *, epochs: int, every_s: float = 0) -> TrainConfig:
    document = tiny_config.model_dump(mode="json")
    document["schedule"]["epochs"] = epochs
    return TrainConfig.model_validate({**document, "checkpoint": {"every_s": every_s}})


def epochs_of(folder: Path) -> list[int]:
    return [row["epoch"] for _, rows in read_history(str(folder)) for row in rows]


def results(trainer: Trainer) -> list[tuple[float, float | None, float | None]]:
    return [(report.loss, report.val_error_pct, report.best_error_pct) for report in trainer.history]


def test_num_parts_leaves_an_epoch_for_the_rest() -> None:
    assert [num_parts(number) for number in (0, 1, 128, 129, 256, 257)] == [0, 0, 0, 1, 1, 2]


def test_part_uris_before_a_damaged_or_whole_history_are_none() -> None:
    for rest in ([], {}, None, 5, [5], [{}], [{"epoch": "129"}], [{"epoch": 0}], [{"epoch": 7}], [{"epoch": 10**9}]):
        assert part_uris_before("run", rest) == [], rest
    assert part_uris_before("run", [{"epoch": 1}]) == []
    assert part_uris_before("run", [{"epoch": 257}]) == ["run/history-000128.json", "run/history-000256.json"]
    assert is_part("history-000128.json")
    assert not is_part("history.json")


def test_train_writes_each_epoch_once_and_resumes_bit_for_bit(
    tiny_config: TrainConfig, tmp_path: Path, parts_of_two: None
) -> None:
    config = config_of(tiny_config, epochs=5)
    straight, killed = Trainer(config, str(tmp_path / "straight")), Trainer(config, str(tmp_path / "killed"))
    straight.train()
    for _ in range(3):
        killed.train_epoch()
        killed.save_if_due()
    part = tmp_path / "killed" / "history-000002.json"
    written = part.stat().st_mtime_ns
    killed.train_epoch()  # of which nothing is saved
    resumed = Trainer(config, str(tmp_path / "killed"), resume=True)
    assert resumed.num_epochs_done == 3
    resumed.train()
    assert results(resumed) == results(straight)
    assert part.stat().st_mtime_ns == written
    assert epochs_of(tmp_path / "killed") == epochs_of(tmp_path / "straight") == [1, 2, 3, 4, 5]
    for name in (BEST_NAME, LAST_NAME):
        one, other = (read_checkpoint(str(tmp_path / run / name)).tensors for run in ("straight", "killed"))
        assert all(one[key].equal(other[key]) for key in one | other)
    rest = json.loads((tmp_path / "straight" / "history.json").read_text())
    assert [row["epoch"] for row in rest] == [5]
    assert read_checkpoint(str(tmp_path / "straight" / LAST_NAME)).info.state["history"] == rest
    assert straight.busy_s == pytest.approx(sum(report.train_s + report.val_s for report in straight.history))


def test_train_resumes_a_whole_history_of_an_earlier_version(
    tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tiny_config, epochs=4)
    first = Trainer(config, str(tmp_path))
    for _ in range(3):
        first.train_epoch()
    first.save()  # three epochs in history.json and last.safetensors, which is more than a part of two
    for module in (history, run_saver, run_state):
        monkeypatch.setattr(module, "PART_EPOCHS", 2)
    monkeypatch.setattr("rcn_search.training.trainer.PART_EPOCHS", 2)
    resumed = Trainer(config, str(tmp_path), resume=True)
    assert resumed.num_epochs_done == 3
    resumed.train()
    assert epochs_of(tmp_path) == [1, 2, 3, 4]
    assert (tmp_path / "history-000002.json").exists()


@pytest.mark.parametrize("content", [None, "[]", "{", '[{"epoch": 1}]'])
def test_trainer_resume_with_a_damaged_part_names_it(
    tiny_config: TrainConfig, tmp_path: Path, parts_of_two: None, content: str | None
) -> None:
    config = config_of(tiny_config, epochs=3)
    Trainer(config, str(tmp_path)).train()
    part = tmp_path / "history-000002.json"
    part.unlink() if content is None else part.write_text(content)
    with pytest.raises(CheckpointError, match=r"history-000002\.json is (damaged: .*|missing); restore it from a copy"):
        Trainer(config, str(tmp_path), resume=True)


def test_train_saves_by_time_and_at_the_end(
    tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    monkeypatch.setattr("rcn_search.training.run_saver.time.monotonic", lambda: now_s)
    trainer = Trainer(config_of(tiny_config, epochs=5, every_s=10), str(tmp_path))
    saved: list[list[int]] = []

    def on_epoch(report: EpochReport) -> None:
        nonlocal now_s
        now_s += 6
        saved.append(epochs_of(tmp_path) if (tmp_path / "history.json").exists() else [])

    trainer.train(on_epoch)
    assert saved == [[], [], [1, 2, 3], [1, 2, 3], [1, 2, 3, 4, 5]]
    best = min(trainer.history, key=lambda report: report.val_error_pct or 0)
    assert read_checkpoint(str(tmp_path / BEST_NAME)).info.epoch == best.epoch


def test_checkpoint_every_s_is_no_part_of_a_run_id(tiny_config: TrainConfig) -> None:
    assert config_of(tiny_config, epochs=2, every_s=3).run_id == tiny_config.run_id


def test_close_saves_what_a_scheduler_stopped(tiny_config: TrainConfig, tmp_path: Path) -> None:
    trainer = Trainer(config_of(tiny_config, epochs=3, every_s=100), str(tmp_path))
    trainer.train_epoch()
    trainer.save_if_due()
    assert not (tmp_path / LAST_NAME).exists()
    trainer.close()
    assert epochs_of(tmp_path) == [1]
    assert (tmp_path / BEST_NAME).exists()
