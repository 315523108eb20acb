"""One driver at a time: the claim on a study, which its driver holds, keeps alive and gives back.

    STUDY/leases/000003/acquired.json      who drives, and with which settings; put-if-absent: one driver a number
    STUDY/leases/000003/heartbeat.json       its last sign of life; the one object of a study that is replaced, whole
    STUDY/leases/000003/released.json   put when it ended by itself

Whoever holds the highest number drives. The next number may be put once the one before is released, or its process is
gone (seen at once on the same machine), or it has not beaten for `STALE_S`. A driver with patience, such as a job that
is submitted again after its machine was lost, waits until then, or until a beat shows that the other one lives. Two
that try put the same number, and storage lets one of them. A driver that was frozen and taken for dead finds the number
above its own at its next beat, which comes before its next write, and stops.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcn_search import storage
from rcn_search.config.schema import FrozenModel
from rcn_search.study.records import StudyError

HEARTBEAT_INTERVAL_S = 10.0
LEASE_TIMEOUT_S = 60.0
"""After so long without a beat a driver on another machine counts as dead. Clocks may differ by less than this."""
POLL_INTERVAL_S = 1.0
"""How often one that waits for the next beat looks for it."""
_CLAIMS, _TAKEN, _BEAT, _RELEASED = "leases", "acquired.json", "heartbeat.json", "released.json"
_held: set[str] = set()
"""Owners of this process."""


class LeaseOwner(FrozenModel):
    """Who drives a study.

    Attributes:
        id: Random; of this claim.
        host: Name of the machine, for people.
        machine: What process numbers are unique in: this boot of this machine, and the container's process space.
        pid: Of the driver.
    """

    id: str
    host: str
    machine: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class LeaseRecord(FrozenModel):
    """One driver's turn.

    Attributes:
        owner: Who has it.
        at: Since when, in seconds since 1970.
        settings: What the study was taken up with (see `rcn_search.study.identity.settings`).
    """

    schema_version: int = 1
    owner: LeaseOwner
    acquired_at: float
    settings: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class LeaseState:
    """The newest claim on a study, as anyone sees it.

    Attributes:
        number: From 0.
        taken: By whom, and with which settings.
        seen_at: Time of its last sign of life.
        released: Whether its driver ended by itself.
    """

    number: int
    record: LeaseRecord
    last_heartbeat_at: float
    released: bool

    @property
    def is_active(self) -> bool:
        """Whether its driver is, as far as can be told from here, at work."""
        if self.released or time.time() - self.last_heartbeat_at > LEASE_TIMEOUT_S:
            return False
        owner = self.record.owner
        if owner.machine != machine():
            return True
        if owner.pid == os.getpid():  # its number may be that of a dead one's, as in a container that was restarted
            return owner.id in _held
        return _is_running(owner.pid)


def read_lease(uri: str) -> LeaseState | None:
    """The newest claim on a study; None of one that was never driven."""
    claims = storage.join(uri, _CLAIMS)
    for name in reversed(storage.list_names(claims)):
        folder = storage.join(claims, name)
        try:
            taken = LeaseRecord.model_validate(storage.read_json(storage.join(folder, _TAKEN)))
        except FileNotFoundError:
            continue  # a folder, and its object was never put
        except ValueError as error:
            raise StudyError(f"{storage.join(folder, _TAKEN)} is damaged: {error}") from error
        seen_at = taken.acquired_at
        with suppress(FileNotFoundError):
            seen_at = float(storage.read_json(storage.join(folder, _BEAT))["at"])
        released = storage.exists(storage.join(folder, _RELEASED))
        return LeaseState(number=int(name), record=taken, last_heartbeat_at=seen_at, released=released)
    return None


class Lease:
    """A claim from the inside, which beats from now on. Made by `hold`."""

    def __init__(self, uri: str, number: int) -> None:
        self._uri, self._number = uri, number
        self._beaten = time.time()  # not the monotonic clock: it stands still while the machine sleeps
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._heartbeat_loop, name="study-claim", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Make sure that the study is still ours; costs nothing while the beats come regularly.

        Raises:
            StudyError: Another driver took it over, for we gave no sign of life.
            OSError: Storage is out of reach, so that nobody knows.
        """
        if time.time() - self._beaten > 2 * HEARTBEAT_INTERVAL_S:
            self.heartbeat()
        if self._ended.is_set():
            raise StudyError(f"{self._uri} was taken over by another driver, as this one gave no sign of life")

    def heartbeat(self) -> None:
        """Give a sign of life, or notice that it comes too late.

        Raises:
            OSError: Storage is out of reach.
        """
        now = time.time()
        if storage.exists(storage.join(_folder(self._uri, self._number + 1), _TAKEN)):
            self._ended.set()
            return
        storage.write_json(storage.join(_folder(self._uri, self._number), _BEAT), {"at": now})
        self._beaten = now

    def _heartbeat_loop(self) -> None:
        while not self._ended.wait(HEARTBEAT_INTERVAL_S):
            with suppress(OSError):  # the next beat may get through; `check` says so before anything is written
                self.heartbeat()

    def release(self) -> None:
        """Give it back."""
        self._ended.set()
        self._thread.join()
        with suppress(OSError):  # then it is found stale
            released = {"at": time.time()}
            storage.write_json(storage.join(_folder(self._uri, self._number), _RELEASED), released)


@contextmanager
def acquire(
    uri: str, settings: dict[str, Any], *, on_status: Callable[[str], None], wait: bool = False
) -> Iterator[Lease]:
    """Drive a study within.

    Args:
        uri: The study.
        settings: What it is taken up with.
        on_takeover: Called with a line about the driver that died, if one did, and before waiting for one.
        patient: Wait as long as a driver on another machine may be dead without counting as dead.

    Raises:
        StudyError: Another driver is at work on it.
    """
    last, is_silent = read_lease(uri), False
    if wait and last and last.is_active and last.record.owner.machine != machine():
        is_silent = _wait_for_expiry(uri, last, on_status)
        last = read_lease(uri) or last
    if last and last.is_active and not is_silent:
        raise StudyError(_refusal(uri, last))
    if last and not last.released:
        on_status(f"{last.record.owner} drove this study and is gone: taken over")
    owner = LeaseOwner(id=uuid.uuid4().hex, host=socket.gethostname(), machine=machine(), pid=os.getpid())
    number = last.number + 1 if last else 0
    taken = LeaseRecord(owner=owner, acquired_at=time.time(), settings=settings).model_dump(mode="json")
    _held.add(owner.id)  # before another thread can read the claim
    try:
        try:
            storage.write_json(storage.join(_folder(uri, number), _TAKEN), taken, if_absent=True)
        except storage.ObjectExistsError:
            raise StudyError(f"another driver took up {uri} a moment ago") from None
        held = Lease(uri, number)
        try:
            yield held
        finally:
            held.release()
    finally:
        _held.discard(owner.id)


def _wait_for_expiry(uri: str, last: LeaseState, say: Callable[[str], None]) -> bool:
    """Wait for a driver on another machine to beat, to be followed by another one, or to do neither for too long."""
    ago_s = time.time() - last.last_heartbeat_at
    left_s = min(LEASE_TIMEOUT_S, LEASE_TIMEOUT_S - ago_s)  # its clock may be ahead of ours
    say(
        f"{last.record.owner} drove this study {max(0, round(ago_s))} s ago: waiting up to {left_s:.0f} s for another "
        "sign of life; without one, the study is taken over"
    )
    deadline = time.monotonic() + left_s
    while (wait_s := min(POLL_INTERVAL_S, deadline - time.monotonic())) > 0:
        time.sleep(wait_s)
        now = read_lease(uri)
        assert now is not None
        if now.released or (now.number, now.last_heartbeat_at) != (last.number, last.last_heartbeat_at):
            return False
    return True


def _refusal(uri: str, last: LeaseState) -> str:
    ago_s = max(0, round(time.time() - last.last_heartbeat_at))
    waits = (
        ""
        if last.record.owner.machine == machine()
        else f", or wait {max(1, round(LEASE_TIMEOUT_S) - ago_s)} s if it is dead, as --auto-resume does"
    )
    return f"{last.record.owner} is at work on {uri} (last seen {ago_s} s ago); stop it first{waits}"


def _folder(uri: str, number: int) -> str:
    return storage.join(uri, _CLAIMS, f"{number:06d}")


def machine() -> str:
    """What process numbers are unique in; the host's name where the kernel does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError):
        # Of a killed process whose parent has not asked how it ended, the number is left and nothing else.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
