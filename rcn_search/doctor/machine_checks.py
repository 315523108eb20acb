"""Cores, memory, shared memory, open files and disks: what Ray and the trials of a node live on.

A container sees the cores and the memory of its host, and may use the share that its control group grants.
"""

from __future__ import annotations

import math
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rcn_search.data.cache import shard_cache_folder
from rcn_search.doctor.check_result import Finding, ok, problem, warning

GIB = 2**30
CONTROL_GROUPS = Path("/sys/fs/cgroup")
SHARED_MEMORY = Path("/dev/shm")
TRIAL_BYTES = GIB
"""Of a trial's process, torch and a data set of some hundred MB with it."""
MIN_SHARED_BYTES = GIB
MIN_FREE_BYTES = 2 * GIB
FULL_PCT = 95
"""Where a disk is used to this share, Ray takes no more objects (``RAY_local_fs_capacity_threshold``)."""
MIN_FILES, GOOD_FILES = 1024, 8192
"""The second is what Ray asks for on a head."""


def examine_machine() -> list[Finding]:
    """All that is to be said of the machine that this runs on."""
    num_cores = _num_cores()
    sessions = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray"
    return [
        check_cores(num_cores, granted_cores(), os.environ.get("OMP_NUM_THREADS", "")),
        *_memory(num_cores),
        *_shared_memory(),
        check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        check_disk("disk of the data cache", shard_cache_folder(), "RCN_SEARCH_CACHE"),
        check_disk("disk of Ray's sessions", sessions, "ray start --temp-dir"),
    ]


def check_cores(num_cores: int, granted: float | None, omp_threads: str) -> Finding:
    """Whether Ray and torch will count more cores than there are to be had.

    Args:
        num_cores: That are seen.
        granted: By the control group, if it sets a limit.
        omp_threads: ``OMP_NUM_THREADS``.
    """
    if granted is not None and granted < num_cores:
        usable = max(1, math.floor(granted))
        return warning(
            "cores",
            f"{num_cores} are seen, {granted:g} granted to this container",
            f"say so to Ray and torch: ray start --num-cpus={usable}, OMP_NUM_THREADS={usable}",
        )
    if omp_threads.isdecimal() and int(omp_threads) > num_cores:
        return warning(
            "cores",
            f"{num_cores}, and OMP_NUM_THREADS={omp_threads}",
            f"unset it or lower it to {num_cores}: threads that wait for a core spin",
        )
    return ok("cores", f"{num_cores}")


def granted_cores(groups: Path = CONTROL_GROUPS) -> float | None:
    """Cores that the control groups of this process grant; none where they set no limit."""
    shares: list[float] = []
    for folder in _own_groups(groups):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not quota:  # the older interface
            quota, period = _read(folder / "cpu/cpu.cfs_quota_us"), _read(folder / "cpu/cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal():
            shares.append(int(quota) / int(period))
    return min(shares, default=None)


def granted_bytes(groups: Path = CONTROL_GROUPS) -> int | None:
    """Memory that the control groups of this process grant; none where they set no limit."""
    limits = (
        _read(folder / name)
        for folder in _own_groups(groups)
        for name in ("memory.max", "memory/memory.limit_in_bytes")
    )
    return min((int(limit) for limit in limits if limit.isdecimal()), default=None)


def check_memory(total: int, available: int, num_cores: int) -> Finding:
    """Whether a trial for each core finds room."""
    found = f"{total / GIB:.1f} GiB, {available / GIB:.1f} GiB of it free"
    if available < TRIAL_BYTES:
        return problem("memory", found, f"end other programs: a trial takes about {TRIAL_BYTES / GIB:g} GiB")
    if available < num_cores * TRIAL_BYTES:
        return warning(
            "memory",
            f"{found}, for a trial on each of {num_cores} cores",
            f"run fewer at once: --set budget.max_concurrent={available // TRIAL_BYTES}",
        )
    return ok("memory", found)


def check_shared_memory(total: int) -> Finding:
    """Whether Ray's object store fits there; elsewhere it is slow."""
    found = f"{total / GIB:.2f} GiB"
    if total < MIN_SHARED_BYTES:
        return warning(
            "shared memory",
            found,
            "give the container more: docker run --shm-size=2g, or in Kubernetes an emptyDir of medium Memory at "
            "/dev/shm; Ray keeps its objects on disk else",
        )
    return ok("shared memory", found)


def check_open_files(limit: int) -> Finding:
    """Whether Ray may open as many files and connections as it needs."""
    if limit == resource.RLIM_INFINITY or limit >= GOOD_FILES:
        return ok("open files", "no limit" if limit == resource.RLIM_INFINITY else f"up to {limit:,}")
    state = problem if limit < MIN_FILES else warning
    return state(
        "open files",
        f"up to {limit:,}, where Ray asks for {GOOD_FILES:,}",
        f"ulimit -n {GOOD_FILES} before ray start",
    )


def check_disk(topic: str, folder: Path, elsewhere: str) -> Finding:
    """Whether there is room on the disk that a folder is, or will be, on.

    Args:
        topic: What it is for.
        folder: That is, or will be, written to.
        elsewhere: How to choose another.
    """
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    usage = shutil.disk_usage(there)
    found = f"{usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB free at {folder}"
    remedy = f"make room, or choose another disk with {elsewhere}"
    if usage.free < MIN_FREE_BYTES // 4 or usage.free < (1 - FULL_PCT / 100) * usage.total:
        return problem(topic, found, remedy)
    return ok(topic, found) if usage.free >= MIN_FREE_BYTES else warning(topic, found, remedy)


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory(num_cores: int) -> Iterator[Finding]:
    """Nothing where the kernel does not say."""
    lines = (line.split() for line in _read(Path("/proc/meminfo")).splitlines())
    sizes = {name: int(size) * 1024 for name, size, *_ in lines}
    total, available = sizes.get("MemTotal:"), sizes.get("MemAvailable:")
    if total is not None and available is not None:
        granted = granted_bytes()
        yield check_memory(min(total, granted or total), min(available, granted or available), num_cores)


def _shared_memory() -> Iterator[Finding]:
    if SHARED_MEMORY.is_dir():
        yield check_shared_memory(shutil.disk_usage(SHARED_MEMORY).total)


def _own_groups(groups: Path) -> list[Path]:
    """The control group of this process and those above it."""
    own = _read(Path("/proc/self/cgroup")).rpartition("0::")[2].strip("/ \n")
    folder = groups / own
    return [folder, *(each for each in folder.parents if each.is_relative_to(groups))] if own else [groups]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
