from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path

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
    """Storage whose writes wait for an event, and fail for URIs that contain ``fails``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened, self.fails, self.written = threading.Event(), "", []
        real = storage.write_bytes

        def write(uri: str, content: bytes, **options: bool) -> None:
            assert self.opened.wait(120)
            if self.fails and self.fails in uri:
                raise OSError(f"{uri}: the store is gone")
            real(uri, content, **options)
            self.written.append((uri.rpartition("/")[2], content))

        monkeypatch.setattr(storage, "write_bytes", write)


def test_add_to_local_folder_writes_at_once(tmp_path: Path) -> None:
    AsyncUploads(str(tmp_path)).add(str(tmp_path / "a"), b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_start_waits_for_the_running_upload(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, uploads = Gate(monkeypatch), AsyncUploads(out)
    for name in ("best", "last"):
        uploads.add(f"{out}/{name}", b"1")
    uploads.start()
    uploads.raise_if_failed()  # does not wait
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


def test_uploads_after_a_failure_raise_its_error(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
    for method in (uploads.raise_if_failed, uploads.start, uploads.flush):
        with pytest.raises(OSError, match="best: the store is gone"):
            method()
    assert gate.written == []  # no checkpoint may refer to weights that are missing


def test_train_epoch_does_not_wait_for_an_upload(
    tiny_config: TrainConfig, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Trainer(tiny_config, out)
    gate = Gate(monkeypatch)
    run.train_epoch()
    run.save()
    report = run.train_epoch()  # only its save waits
    assert (report.epoch, gate.written) == (2, [])
    gate.opened.set()
    run.save()  # after the last epoch it flushes
    assert [name for name, _ in gate.written][-2:] == ["last.safetensors", "history.json"]
    assert read_checkpoint(f"{out}/last.safetensors").info.epoch == 2


def test_train_after_failed_upload_stops_and_can_be_resumed(
    tiny_config: TrainConfig, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = Trainer(tiny_config, f"{out}/straight")
    straight.train()
    stopped = f"{out}/stopped"
    run = Trainer(tiny_config, stopped)
    with pytest.MonkeyPatch.context() as patch:
        gate = Gate(patch)
        gate.opened.set()
        gate.fails = "last"
        run.train_epoch()
        run.save()
        with pytest.raises(OSError, match="the store is gone"):  # by the save after the last epoch, at the latest
            run.train()
    assert not storage.exists(f"{stopped}/last.safetensors")
    resumed = Trainer(tiny_config, stopped, resume=True)
    resumed.train()
    assert_same(f"{out}/straight", stopped)


def test_train_resumed_on_remote_storage_is_bit_identical(tiny_config: TrainConfig, out: str) -> None:
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
        a, b = (read_checkpoint(f"{out}/{name}").tensors for out in (one, other))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
