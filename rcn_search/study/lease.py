"""The lease on a study: one search process at a time acquires it, keeps it alive with heartbeats, and releases it.

    STUDY/leases/000003/acquired.json    which process, and with which settings; put-if-absent: one process per number
    STUDY/leases/000003/heartbeat.json   its last heartbeat, and its use of the budget until then; the one object of a
                                         study that is replaced, as a whole
    STUDY/leases/000003/released.json    written when the process ended by itself

The highest number is the current lease. The next number may be acquired once the current lease is released, its process
is dead (noticed at once on the same machine), or there was no heartbeat for `LEASE_TIMEOUT_S`. A process that waits,
such as a job that is submitted again after its machine was lost, waits for that, or until a heartbeat shows that the
other process is alive. If two processes try at once, they put the same number, and storage lets one of them. A process
that was frozen finds the next number at its next heartbeat, which comes before its next write, and stops.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import psutil
from pydantic import ConfigDict, Field

from rcn_search import storage
from rcn_search.config.schema import FrozenModel
from rcn_search.study.budget_use import Use
from rcn_search.study.records import RESTORE, StudyError, UnixTime, read_record

HEARTBEAT_INTERVAL_S = 10.0
LEASE_TIMEOUT_S = 60.0
"""Time without a heartbeat after which a lease has expired. Clocks of machines must differ by less."""
POLL_INTERVAL_S = 1.0
"""Time between two looks at the lease of another process while waiting for it to expire."""
_START_TOLERANCE_S = 2.0
"""Error of a process's start time, which the system counts from a boot time in whole seconds."""
_LEASES, _ACQUIRED, _HEARTBEAT, _RELEASED = "leases", "acquired.json", "heartbeat.json", "released.json"
_REMEDY = f"{RESTORE}, or delete it if no search process runs this study"
_unreleased: set[str] = set()
"""Folders of leases that this process has given up but could not release, because storage could not be reached."""


class LeaseOwner(FrozenModel):
    """The process that acquired a lease; its ``host`` is for people, and its number is unique in its `machine`."""

    host: str
    machine: str
    pid: int = Field(ge=0)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Heartbeat(FrozenModel):
    """Content of ``heartbeat.json``; its other keys are read by `read_use`."""

    model_config = ConfigDict(extra="ignore")
    at: UnixTime


class LeaseRecord(FrozenModel):
    """Content of ``acquired.json``: who runs the study, since which Unix time, with which `resume_settings`."""

    schema_version: Literal[2] = 2
    owner: LeaseOwner
    acquired_at: UnixTime
    settings: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class LeaseState:
    """The newest lease on a study, as any process sees it; the last heartbeat is a Unix time in seconds."""

    number: int
    record: LeaseRecord
    last_heartbeat_at: float
    released: bool

    @property
    def is_active(self) -> bool:
        """Whether its owner is running, as far as this process can tell."""
        if self.released or time.time() - self.last_heartbeat_at > LEASE_TIMEOUT_S:
            return False
        owner = self.record.owner
        return owner.machine != machine() or _is_running(owner.pid, self.last_heartbeat_at)


def read_lease(uri: str) -> LeaseState | None:
    """Read the newest lease on a study; None if it was never run, StudyError if the lease is damaged."""
    leases = storage.join(uri, _LEASES)
    for name in reversed(_lease_names(leases)):
        folder = storage.join(leases, name)
        try:
            record = read_record(storage.join(folder, _ACQUIRED), LeaseRecord, remedy=_REMEDY)
        except FileNotFoundError:
            continue  # a folder whose object was never written
        last_heartbeat_at = record.acquired_at
        with suppress(FileNotFoundError):
            last_heartbeat_at = read_record(storage.join(folder, _HEARTBEAT), Heartbeat, remedy=_REMEDY).at
        released = folder in _unreleased or storage.exists(storage.join(folder, _RELEASED))
        return LeaseState(number=int(name), record=record, last_heartbeat_at=last_heartbeat_at, released=released)
    return None


def _lease_names(leases: str) -> list[str]:
    """List the folders of leases in order, without what others may have put there."""
    return [name for name in storage.list_names(leases) if name.isascii() and name.isdigit()]


def read_use(uri: str) -> Use:
    """Sum the use of the budget over all leases on a study; a process that was killed counts to its last heartbeat."""
    leases = storage.join(uri, _LEASES)
    return sum((_use_of(storage.join(leases, name)) for name in _lease_names(leases)), Use())


def _use_of(folder: str) -> Use:
    for name in (_RELEASED, _HEARTBEAT):
        uri = storage.join(folder, name)
        try:
            return Use.model_validate(storage.read_json(uri).get("use", {}))
        except FileNotFoundError:
            continue
        except (AttributeError, ValueError) as error:
            raise StudyError(f"{uri} is damaged: it does not say what was used of the budget: {error}") from error
    return Use()  # it ended before its first heartbeat


class Lease:
    """A lease that this process holds; it sends heartbeats from a thread. Made by `acquire`."""

    def __init__(self, uri: str, number: int) -> None:
        self._uri, self._number = uri, number
        # Not the monotonic clock, which stands still while the machine sleeps.
        self._started_at = self._last_heartbeat_at = time.time()
        self._reserved = Use()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._heartbeat_loop, name="study-lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Check that this process still holds the lease; costs nothing while heartbeats are sent in time.

        Raises:
            StudyError: Another process has taken over the study, because this one sent no heartbeat.
            OSError: Storage cannot be reached, so nobody knows.
        """
        if time.time() - self._last_heartbeat_at > 2 * HEARTBEAT_INTERVAL_S:
            self.heartbeat()
        if self._ended.is_set():
            raise StudyError(f"{self._uri}: another search process took over this study: no heartbeat from this one")

    @property
    def use(self) -> Use:
        """Use of the budget by this process so far."""
        return self._reserved.model_copy(update={"wall_s": max(0.0, time.time() - self._started_at)})

    def add_reserved(self, use: Use) -> None:
        """Add seconds for which resources were reserved for trials; the next heartbeat records them."""
        self._reserved += use

    def heartbeat(self) -> None:
        """Send a heartbeat, or notice that the lease is lost."""
        now = time.time()
        if storage.exists(storage.join(_folder(self._uri, self._number + 1), _ACQUIRED)):
            self._ended.set()
            return
        storage.write_json(storage.join(_folder(self._uri, self._number), _HEARTBEAT), self._record(now))
        self._last_heartbeat_at = now

    def _record(self, now: float) -> dict[str, Any]:
        return {"at": now, "use": self.use.model_dump()}

    def _heartbeat_loop(self) -> None:
        while not self._ended.wait(HEARTBEAT_INTERVAL_S):
            with suppress(OSError):  # the next one may succeed; `check` raises before anything is written
                self.heartbeat()

    def release(self) -> None:
        """Release the lease, so that the next process need not wait for it to expire."""
        self._ended.set()
        self._thread.join()
        folder = _folder(self._uri, self._number)
        try:
            storage.write_json(storage.join(folder, _RELEASED), self._record(time.time()))
        except OSError:  # for other processes it expires
            _unreleased.add(folder)


@contextmanager
def acquire(
    uri: str, settings: dict[str, Any], *, on_status: Callable[[str], object], wait: bool = False
) -> Iterator[Lease]:
    """Hold the lease on a study for the duration of a ``with`` block.

    ``on_status`` gets a message before waiting, and when the lease of a dead process is taken over. ``wait`` is for a
    lease of a process on another machine: wait until it expires or a heartbeat comes.

    Raises:
        StudyError: Another process runs the study.
    """
    last, has_expired = read_lease(uri), False
    if wait and last and last.is_active and last.record.owner.machine != machine():
        has_expired = _wait_for_expiry(uri, last, on_status)
        last = read_lease(uri) or last
    if last and last.is_active and not has_expired:
        raise StudyError(_describe_conflict(uri, last))
    if last and not last.released:
        on_status(f"{last.record.owner} ran this study and is gone: its lease is taken over")
    owner = LeaseOwner(host=socket.gethostname(), machine=machine(), pid=os.getpid())
    number = last.number + 1 if last else 0
    record = LeaseRecord(owner=owner, acquired_at=time.time(), settings=settings).model_dump(mode="json")
    try:
        storage.write_json(storage.join(_folder(uri, number), _ACQUIRED), record, if_absent=True)
    except storage.ObjectExistsError:
        raise StudyError(f"another search process started to run {uri} a moment ago") from None
    lease = Lease(uri, number)
    try:
        yield lease
    finally:
        lease.release()


def _wait_for_expiry(uri: str, last: LeaseState, on_status: Callable[[str], object]) -> bool:
    """Wait while a lease neither gets a heartbeat nor a successor; whether that lasted until it expired."""
    ago_s = time.time() - last.last_heartbeat_at
    left_s = min(LEASE_TIMEOUT_S, LEASE_TIMEOUT_S - ago_s)  # the other machine's clock may be ahead
    on_status(
        f"{last.record.owner} ran this study {max(0, round(ago_s))} s ago: waiting up to {left_s:.0f} s for another "
        "heartbeat; without one, its lease is taken over"
    )
    deadline = time.monotonic() + left_s
    while (pause_s := min(POLL_INTERVAL_S, deadline - time.monotonic())) > 0:
        time.sleep(pause_s)
        now = read_lease(uri)
        assert now is not None
        if now.released or (now.number, now.last_heartbeat_at) != (last.number, last.last_heartbeat_at):
            return False
    return True


def _describe_conflict(uri: str, last: LeaseState) -> str:
    ago_s = max(0, round(time.time() - last.last_heartbeat_at))
    message = f"{last.record.owner} is running {uri} (last heartbeat {ago_s} s ago); stop it first"
    if last.record.owner.machine == machine():
        return message
    return f"{message}, or wait {max(1, round(LEASE_TIMEOUT_S) - ago_s)} s if it is dead, as --auto-resume does"


def _folder(uri: str, number: int) -> str:
    return storage.join(uri, _LEASES, f"{number:06d}")


def machine() -> str:
    """Identify what process numbers are unique in: a boot of a host, or a container.

    Containers can share the name of their host, but each has a first process of its own.
    """
    try:
        started_at = psutil.Process(1).create_time()
    except psutil.Error:  # there is no process 1 on Windows, and it may be hidden elsewhere
        started_at = psutil.boot_time()
    return f"{socket.gethostname()}/{started_at:.2f}"


def _is_running(pid: int, since: float) -> bool:
    """Whether a process of this machine has been running since ``since``: numbers of dead processes are used again."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= since + _START_TOLERANCE_S
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
