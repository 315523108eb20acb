"""One search process at a time runs a study, and the next one takes over from a dead one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest

from rcn_search import storage
from rcn_search.study import lease as lease_module
from rcn_search.study.lease import Lease, LeaseState, acquire, machine, read_lease
from rcn_search.study.records import StudyError
from tests.support.leases import make_owner, put_lease


@pytest.fixture
def uri(store: str) -> str:
    return storage.join(store, "study")


@pytest.fixture
def poll_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "POLL_INTERVAL_S", 0.05)


def acquire_lease(
    uri: str, on_status: Callable[[str], object] = str, *, wait: bool = False, **settings: object
) -> AbstractContextManager[Lease]:
    """Acquire the lease; what ``on_status`` does before waiting comes after the lease was read."""
    return acquire(uri, settings, on_status=on_status, wait=wait)


def current_lease(uri: str) -> LeaseState:
    state = read_lease(uri)
    assert state is not None
    return state


@pytest.mark.every_store
def test_acquire_gives_numbered_leases_one_after_another(uri: str) -> None:
    assert read_lease(uri) is None
    for number in range(3):
        with acquire_lease(uri, budget=number) as lease:
            lease.check()
            state = current_lease(uri)
            assert (state.number, state.is_active, state.released) == (number, True, False)
            assert state.record.settings == {"budget": number}
        assert (current_lease(uri).released, current_lease(uri).is_active) == (True, False)


def test_acquire_while_another_process_runs_names_it(uri: str) -> None:
    with (
        acquire_lease(uri),
        pytest.raises(StudyError, match=rf"process {os.getpid()} on .* is running {uri}"),
        acquire_lease(uri),
    ):
        raise AssertionError
    put_lease(uri, 1, make_owner(), heartbeat_ago_s=20)
    message = r"process 7 on elsewhere .*heartbeat 2. s ago.*or wait [34]. s if it is dead, as --auto-resume does"
    with pytest.raises(StudyError, match=message), acquire_lease(uri):
        raise AssertionError


def test_acquire_releases_after_an_error(uri: str) -> None:
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), acquire_lease(uri):
            raise error
        assert current_lease(uri).released


def test_acquire_again_after_a_release_that_could_not_be_stored(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(object_uri: str, document: Any, *, if_absent: bool = False) -> None:
        raise OSError("no route to host")

    with monkeypatch.context() as patch, acquire_lease(uri):
        patch.setattr(storage, "write_json", fail)
    assert not storage.exists(storage.join(uri, "leases/000000/released.json"))
    with acquire_lease(uri):
        assert current_lease(uri).number == 1


@pytest.mark.every_store
def test_acquire_takes_over_an_expired_lease_of_another_machine(uri: str) -> None:
    messages: list[str] = []
    put_lease(uri, 0, make_owner(), heartbeat_ago_s=lease_module.LEASE_TIMEOUT_S + 1)
    with acquire_lease(uri, messages.append):
        assert current_lease(uri).number == 1
    assert messages == ["process 7 on elsewhere ran this study and is gone: its lease is taken over"]


@pytest.mark.parametrize("clock_ahead_s", [-1, 30])
def test_acquire_with_wait_waits_for_the_lease_to_expire(
    uri: str, monkeypatch: pytest.MonkeyPatch, poll_quickly: None, clock_ahead_s: float
) -> None:
    monkeypatch.setattr(lease_module, "LEASE_TIMEOUT_S", 2.0)
    messages: list[str] = []
    now, started = time.time(), time.monotonic()
    monkeypatch.setattr(lease_module.time, "time", lambda: now)  # else the lease would expire while a store is slow
    put_lease(uri, 0, make_owner(), heartbeat_ago_s=-clock_ahead_s)
    with acquire_lease(uri, messages.append, wait=True):
        assert current_lease(uri).number == 1
    assert 0.9 <= time.monotonic() - started < 30
    waiting, taken_over = messages
    assert "process 7 on elsewhere ran this study" in waiting
    assert "waiting up to" in waiting
    assert taken_over == "process 7 on elsewhere ran this study and is gone: its lease is taken over"


def test_acquire_with_wait_is_refused_at_the_next_heartbeat(uri: str, poll_quickly: None) -> None:
    put_lease(uri, 0, make_owner(), heartbeat_ago_s=5)

    def send_heartbeat(message: str) -> None:
        storage.write_json(storage.join(uri, "leases/000000/heartbeat.json"), {"at": time.time()})

    with (
        pytest.raises(StudyError, match="process 7 on elsewhere is running"),
        acquire_lease(uri, send_heartbeat, wait=True),
    ):
        raise AssertionError


def test_acquire_with_wait_is_refused_when_another_waiting_process_was_first(uri: str, poll_quickly: None) -> None:
    put_lease(uri, 0, make_owner(), heartbeat_ago_s=5)

    def put_successor(message: str) -> None:
        put_lease(uri, 1, make_owner(host="further"))

    with (
        pytest.raises(StudyError, match="process 7 on further is running"),
        acquire_lease(uri, put_successor, wait=True),
    ):
        raise AssertionError


def test_acquire_with_wait_succeeds_as_soon_as_the_lease_is_released(uri: str, poll_quickly: None) -> None:
    put_lease(uri, 0, make_owner())
    messages: list[str] = []

    def release(message: str) -> None:
        messages.append(message)
        storage.write_json(storage.join(uri, "leases/000000/released.json"), {"at": 0})

    started = time.monotonic()
    with acquire_lease(uri, release, wait=True):
        assert current_lease(uri).number == 1
    assert time.monotonic() - started < lease_module.LEASE_TIMEOUT_S / 2
    assert len(messages) == 1


def test_acquire_with_wait_does_not_wait_for_a_process_of_this_machine(uri: str) -> None:
    messages: list[str] = []
    with (
        acquire_lease(uri),
        pytest.raises(StudyError, match="is running"),
        acquire_lease(uri, messages.append, wait=True),
    ):
        raise AssertionError
    assert not messages


def test_acquire_takes_over_at_once_from_a_dead_process_of_this_machine(uri: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    deadline = time.monotonic() + 60
    put_lease(uri, 0, make_owner(machine=machine(), pid=process.pid))
    while current_lease(uri).is_active:  # it is a zombie after its end, because nobody has waited for it yet
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with acquire_lease(uri):
        assert current_lease(uri).number == 1
    process.wait()


def test_acquire_takes_over_when_the_process_number_was_used_again(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "LEASE_TIMEOUT_S", 1e9)
    age_s = time.time() - psutil.Process().create_time()
    put_lease(uri, 0, make_owner(machine=machine(), pid=os.getpid()), heartbeat_ago_s=age_s + 10)
    with acquire_lease(uri):
        assert current_lease(uri).number == 1


def test_acquire_does_not_look_up_a_process_number_of_another_container(uri: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    put_lease(uri, 0, make_owner(machine=f"{machine().rpartition('/')[0]}/1.00", pid=process.pid))
    with pytest.raises(StudyError, match="is running"), acquire_lease(uri):
        raise AssertionError


@pytest.mark.every_store
def test_acquire_by_many_at_once_succeeds_for_one(uri: str) -> None:
    start, done = threading.Barrier(8, timeout=60), threading.Barrier(8, timeout=60)

    def try_to_acquire(_: int) -> bool:
        start.wait()
        try:
            with acquire_lease(uri):
                done.wait()
                return True
        except StudyError:
            done.wait()
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(try_to_acquire, range(8))) == 1


def test_lease_is_active_from_the_moment_it_can_be_read(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json = storage.write_json
    written = []

    def write(object_uri: str, document: Any, *, if_absent: bool = False) -> None:
        write_json(object_uri, document, if_absent=if_absent)
        written.append((object_uri.rpartition("/")[2], current_lease(uri).is_active))

    monkeypatch.setattr(storage, "write_json", write)
    with acquire_lease(uri):
        pass
    assert written == [("acquired.json", True), ("released.json", False)]


def test_check_raises_before_the_next_write_of_a_frozen_process(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with acquire_lease(uri) as frozen:
        put_lease(uri, 1, make_owner())
        frozen.check()  # its last heartbeat was a moment ago, so it does not ask storage
        later = time.time() + 2.5 * lease_module.HEARTBEAT_INTERVAL_S
        monkeypatch.setattr(lease_module.time, "time", lambda: later)
        with pytest.raises(StudyError, match="another search process took over"):
            frozen.check()
    assert not current_lease(uri).released


def test_lease_sends_heartbeats_again_after_storage_was_unreachable(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "HEARTBEAT_INTERVAL_S", 0.02)
    write_json, is_broken = storage.write_json, threading.Event()

    def write(object_uri: str, document: Any, *, if_absent: bool = False) -> None:
        if is_broken.is_set():
            raise OSError("no route to host")
        write_json(object_uri, document, if_absent=if_absent)

    monkeypatch.setattr(storage, "write_json", write)
    with acquire_lease(uri) as lease:
        first = await_heartbeat(uri, 0.0)
        is_broken.set()
        time.sleep(0.1)
        with pytest.raises(OSError, match="no route"):
            lease.check()
        is_broken.clear()
        await_heartbeat(uri, first.last_heartbeat_at)
        lease.check()


def await_heartbeat(uri: str, after: float) -> LeaseState:
    deadline = time.monotonic() + 60
    while (state := current_lease(uri)).last_heartbeat_at <= max(after, state.record.acquired_at):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return state


def test_read_lease_skips_a_folder_without_a_record(uri: str, tmp_path: Path) -> None:
    with acquire_lease(uri):
        pass
    (tmp_path / "store/study/leases/000001").mkdir(parents=True)
    if "://" not in uri:
        assert current_lease(uri).number == 0
