"""Checkpoints of runs whose folder is remote are published beside the training."""

from __future__ import annotations

import threading
import time
import uuid

import pytest
import torch

from rcn_search import storage
from rcn_search.config.schema import TrainConfig
from rcn_search.training.async_uploads import AsyncUploads
from rcn_search.training.checkpoint import read_checkpoint
from rcn_search.training.exit_status import Interrupted
from rcn_search.training.trainer import Trainer


@pytest.fixture
def out() -> str:
    return f"memory://{uuid.uuid4().hex}"


class Gate:
    """Storage whose writes wait until they may go on, and fail where it is told so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened, self.fails, self.begun, self.written = threading.Event(), "", [], []
        real = storage.write_bytes

        def write(uri: str, content: bytes, **options: bool) -> None:
            self.begun.append(uri)
            assert self.opened.wait(120)
            if self.fails and self.fails in uri:
                raise OSError(f"{uri}: the store is gone")
            real(uri, content, **options)
            self.written.append((uri.rpartition("/")[2], content))

        monkeypatch.setattr(storage, "write_bytes", write)


def test_a_folder_of_this_machine_is_written_at_once(tmp_path) -> None:
    AsyncUploads(str(tmp_path)).add(str(tmp_path / "a"), b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_one_save_is_under_way_and_the_next_waits(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, uploads = Gate(monkeypatch), AsyncUploads(out)
    for name in ("best", "last"):
        uploads.add(f"{out}/{name}", b"1")
    uploads.start()
    uploads.raise_if_failed()  # it is not through, and nothing waits for it
    assert gate.written == []
    uploads.add(f"{out}/last", b"2")
    second = threading.Thread(target=uploads.start)
    second.start()
    time.sleep(0.05)
    assert second.is_alive()
    gate.opened.set()
    second.join()
    uploads.flush()
    assert gate.written == [("best", b"1"), ("last", b"1"), ("last", b"2")]


def test_after_a_failure_nothing_follows(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, uploads = Gate(monkeypatch), AsyncUploads(out)
    gate.opened.set()
    gate.fails = "best"
    uploads.add(f"{out}/best", b"1")
    uploads.add(f"{out}/last", b"1")
    uploads.start()
    with pytest.raises(OSError, match="best: the store is gone"):
        uploads.flush()
    gate.fails = ""
    uploads.add(f"{out}/last", b"2")
    for each in (uploads.raise_if_failed, uploads.start, uploads.flush):
        with pytest.raises(OSError, match="best: the store is gone"):
            each()
    assert gate.written == []  # a last that speaks of weights that are not there would be worse than none


def test_training_goes_on_while_a_save_is_under_way(
    tiny_config: TrainConfig, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Trainer(tiny_config, out)
    gate = Gate(monkeypatch)
    run.train_epoch()
    run.save()
    report = run.train_epoch()  # its save waits; its steps do not
    assert (report.epoch, gate.written) == (2, [])
    gate.opened.set()
    run.save()  # the end: all is flushed
    assert [name for name, _ in gate.written][-2:] == ["last.safetensors", "history.json"]
    assert read_checkpoint(f"{out}/last.safetensors").info.epoch == 2


def test_a_store_that_fails_stops_the_run_and_it_goes_on_later(
    tiny_config: TrainConfig, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = Trainer(tiny_config, f"{out}/straight")
    straight.train()
    place = f"{out}/stopped"
    run = Trainer(tiny_config, place)
    with pytest.MonkeyPatch.context() as patch:
        gate = Gate(patch)
        gate.opened.set()
        gate.fails = "last"
        run.train_epoch()
        run.save()
        with pytest.raises(OSError, match="the store is gone"):
            run.train()
    assert not storage.exists(f"{place}/last.safetensors")
    resumed = Trainer(tiny_config, place, resume=True)
    resumed.train()
    assert_same(f"{out}/straight", place)


def test_resumed_equals_straight_bit_for_bit_on_a_store(tiny_config: TrainConfig, out: str) -> None:
    Trainer(tiny_config, f"{out}/straight").train()
    left = iter(range(4))
    stopped = Trainer(tiny_config, f"{out}/stopped", should_stop=lambda: next(left, None) is None)
    with pytest.raises(Interrupted):
        stopped.train()
    assert storage.exists(f"{out}/stopped/last.safetensors")  # flushed before it stopped
    Trainer(tiny_config, f"{out}/stopped", resume=True).train()
    assert_same(f"{out}/straight", f"{out}/stopped")


def assert_same(one: str, other: str) -> None:
    for name in ("last.safetensors", "best.safetensors"):
        a, b = (read_checkpoint(f"{place}/{name}").tensors for place in (one, other))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
