"""Who drives: of two drivers one, and after a dead one the next."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from rcn_search import storage
from rcn_search.study import lease as claims
from rcn_search.study.lease import LeaseOwner, LeaseState, acquire, machine, read_lease
from rcn_search.study.records import StudyError


@pytest.fixture
def uri(store) -> str:
    return storage.join(store, "study")


def taken_up(uri: str, hear: Callable[[str], object] = str, *, patient: bool = False, **settings: object):
    """What ``hear`` does when it is told that a driver is waited for comes after the claim was read."""
    return acquire(uri, settings, on_takeover=hear, patient=patient)


def as_of(uri: str, number: int, owner: LeaseOwner, *, seen_s: float = 0.0) -> None:
    """A claim of another driver, last seen so long ago."""
    at = time.time() - seen_s
    folder = storage.join(uri, f"leases/{number:06d}")
    storage.write_json(
        storage.join(folder, "acquired.json"), {"owner": owner.model_dump(), "at": at - 1, "settings": {}}, if_absent=True
    )
    storage.write_json(storage.join(folder, "heartbeat.json"), {"at": at})


def somebody(**changes: object) -> LeaseOwner:
    return LeaseOwner.model_validate(
        {"id": uuid.uuid4().hex, "host": "elsewhere", "machine": "another", "pid": 7, **changes}
    )


@pytest.mark.every_store
def test_a_claim_is_held_given_back_and_taken_again(uri):
    assert read_lease(uri) is None
    for number in range(3):
        with taken_up(uri, budget=number) as held:
            held.check()
            now = read_lease(uri)
            assert (now.number, now.is_active, now.released) == (number, True, False)
            assert now.record.settings == {"budget": number}
        assert (read_lease(uri).released, read_lease(uri).is_active) == (True, False)


def test_the_second_driver_is_refused_by_name_of_the_first(uri):
    with (
        taken_up(uri),
        pytest.raises(StudyError, match=rf"process {claims.os.getpid()} on .* is at work on {uri}"),
        taken_up(uri),
    ):
        raise AssertionError
    as_of(uri, 1, somebody(), seen_s=20)
    with (
        pytest.raises(
            StudyError,
            match=r"process 7 on elsewhere .*last seen 2. s ago.*or wait [34]. s if it is dead, as --auto-resume does",
        ),
        taken_up(uri),
    ):
        raise AssertionError


def test_an_error_gives_the_claim_back(uri):
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), taken_up(uri):
            raise error
        assert read_lease(uri).released


@pytest.mark.every_store
def test_a_driver_elsewhere_is_taken_over_when_it_is_stale(uri):
    lines: list[str] = []
    as_of(uri, 0, somebody(), seen_s=claims.LEASE_TIMEOUT_S + 1)
    with taken_up(uri, lines.append):
        assert read_lease(uri).number == 1
    assert lines == ["process 7 on elsewhere drove this study and is gone: taken over"]


@pytest.mark.parametrize("clock_is_ahead_s", [-1, 30])
def test_a_driver_with_patience_waits_for_a_dead_one(uri, monkeypatch, clock_is_ahead_s):
    monkeypatch.setattr(claims, "STALE_S", 2.0)
    monkeypatch.setattr(claims, "LOOK_S", 0.05)
    lines: list[str] = []
    now, started = time.time(), time.monotonic()
    monkeypatch.setattr(claims.time, "time", lambda: now)  # or a slow store would make the driver stale
    as_of(uri, 0, somebody(), seen_s=-clock_is_ahead_s)
    with taken_up(uri, lines.append, patient=True):
        assert read_lease(uri).number == 1
    assert 0.9 <= time.monotonic() - started < 30
    waiting, taken_over = lines
    assert "process 7 on elsewhere drove this study" in waiting
    assert "waiting up to" in waiting
    assert taken_over == "process 7 on elsewhere drove this study and is gone: taken over"


def test_it_waits_no_longer_than_a_beat_for_one_that_lives(uri, monkeypatch):
    monkeypatch.setattr(claims, "LOOK_S", 0.05)
    as_of(uri, 0, somebody(), seen_s=5)

    def beat(line: str) -> None:
        storage.write_json(storage.join(uri, "leases/000000/heartbeat.json"), {"at": time.time()})

    with pytest.raises(StudyError, match="process 7 on elsewhere is at work"), taken_up(uri, beat, patient=True):
        raise AssertionError


def test_of_two_with_patience_one_gets_it(uri, monkeypatch):
    monkeypatch.setattr(claims, "LOOK_S", 0.05)
    as_of(uri, 0, somebody(), seen_s=5)

    def follow(line: str) -> None:
        as_of(uri, 1, somebody(host="further"))

    with pytest.raises(StudyError, match="process 7 on further is at work"), taken_up(uri, follow, patient=True):
        raise AssertionError


def test_it_takes_over_at_once_what_is_given_back_meanwhile(uri, monkeypatch):
    monkeypatch.setattr(claims, "LOOK_S", 0.05)
    as_of(uri, 0, somebody())
    lines: list[str] = []

    def give_back(line: str) -> None:
        lines.append(line)
        storage.write_json(storage.join(uri, "leases/000000/released.json"), {"at": 0})

    started = time.monotonic()
    with taken_up(uri, give_back, patient=True):
        assert read_lease(uri).number == 1
    assert time.monotonic() - started < claims.LEASE_TIMEOUT_S / 2
    assert len(lines) == 1


def test_nobody_waits_for_one_that_is_seen_to_live_here(uri):
    lines: list[str] = []
    with taken_up(uri), pytest.raises(StudyError, match="is at work"), taken_up(uri, lines.append, patient=True):
        raise AssertionError
    assert not lines


def test_a_dead_driver_on_this_machine_is_taken_over_at_once(uri):
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    deadline = time.monotonic() + 60
    here = somebody(machine=machine(), pid=process.pid)
    as_of(uri, 0, here)
    while read_lease(uri).is_active:  # over, though nobody has waited for it yet
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with taken_up(uri):
        assert read_lease(uri).number == 1
    process.wait()


def test_a_process_of_the_same_number_is_not_the_dead_driver(uri):
    as_of(uri, 0, somebody(machine=machine(), pid=claims.os.getpid()))
    with taken_up(uri):
        assert read_lease(uri).number == 1


@pytest.mark.every_store
def test_of_many_that_try_at_once_one_gets_it(uri):
    start, done = threading.Barrier(8, timeout=60), threading.Barrier(8, timeout=60)

    def drives(_: int) -> bool:
        start.wait()
        try:
            with taken_up(uri):
                done.wait()
                return True
        except StudyError:
            done.wait()
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(drives, range(8))) == 1


def test_a_claim_counts_as_soon_as_it_can_be_read(uri, monkeypatch):
    real, seen = storage.write_json, []

    def write(place: str, document: object, *, if_absent: bool = False) -> None:
        real(place, document, if_absent=if_absent)
        seen.append((place.rpartition("/")[2], read_lease(uri).is_active))

    monkeypatch.setattr(storage, "write_json", write)
    with taken_up(uri):
        pass
    assert seen == [("acquired.json", True), ("released.json", False)]


def test_a_driver_that_was_taken_for_dead_stops_before_it_writes(uri, monkeypatch):
    with taken_up(uri) as frozen:
        as_of(uri, 1, somebody())
        frozen.check()  # its last beat was a moment ago: storage is not asked
        later = time.time() + 2.5 * claims.HEARTBEAT_INTERVAL_S
        monkeypatch.setattr(claims.time, "time", lambda: later)
        with pytest.raises(StudyError, match="was taken over by another driver"):
            frozen.check()
    assert not read_lease(uri).released


def test_it_beats_and_survives_storage_out_of_reach_for_a_while(uri, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_S", 0.02)
    real, broken = storage.write_json, threading.Event()

    def write(place: str, document: object, *, if_absent: bool = False) -> None:
        if broken.is_set():
            raise OSError("no route to host")
        real(place, document, if_absent=if_absent)

    monkeypatch.setattr(storage, "write_json", write)
    with taken_up(uri) as held:
        first = beat_after(uri, 0.0)
        broken.set()
        time.sleep(0.1)
        with pytest.raises(OSError, match="no route"):
            held.check()
        broken.clear()
        beat_after(uri, first.last_heartbeat_at)
        held.check()


def beat_after(uri: str, then: float) -> LeaseState:
    deadline = time.monotonic() + 60
    while (now := read_lease(uri)).last_heartbeat_at <= max(then, now.record.acquired_at):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return now


def test_a_claim_that_was_never_put_is_none(uri, tmp_path):
    with taken_up(uri):
        pass
    (tmp_path / "store/study/leases/000001").mkdir(parents=True)
    if "://" not in uri:
        assert read_lease(uri).number == 0
