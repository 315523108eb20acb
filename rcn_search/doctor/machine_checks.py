"""Checks of what Ray and the trials of a node need: cores, memory, shared memory, open files and disk space.

A container sees the cores and memory of its host, but may use only what its control group grants. What an operating
system does not have (control groups, ``/dev/shm``, limits on open files) is not checked.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from rcn_search.data.cache import shard_cache_folder
from rcn_search.doctor.check_result import CheckResult, ok, problem, warning
from rcn_search.machine import num_cpus

GIB = 2**30
CONTROL_GROUPS = Path("/sys/fs/cgroup")
SHARED_MEMORY = Path("/dev/shm")
TRIAL_BYTES = GIB
"""Memory of a trial's process with torch and a data set of some hundred MB."""
MIN_SHARED_BYTES = GIB
MIN_FREE_BYTES = 2 * GIB
FULL_PCT = 95
"""Use of a disk from which on Ray stores no more objects on it (``RAY_local_fs_capacity_threshold``)."""
MIN_FILES, GOOD_FILES = 1024, 8192
"""Limits on open files: Ray's minimum, and what it recommends for a head node."""


def check_machine() -> list[CheckResult]:
    """Check the machine that this runs on."""
    num_cores = num_cpus()
    sessions = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray"
    memory, granted = psutil.virtual_memory(), granted_bytes() or math.inf
    return [
        check_cores(num_cores, granted_cores(), os.environ.get("OMP_NUM_THREADS", "")),
        check_memory(min(memory.total, granted), min(memory.available, granted), num_cores),
        *([check_shared_memory(shutil.disk_usage(SHARED_MEMORY).total)] if SHARED_MEMORY.is_dir() else []),
        *_check_open_files_if_limited(),
        check_data_cache(),
        check_disk("disk of Ray's sessions", sessions, "ray start --temp-dir"),
    ]


def check_cores(num_cores: int, granted: float | None, omp_threads: str) -> CheckResult:
    """Check that Ray and torch do not assume more cores than the control group grants (None if it sets no limit)."""
    if granted is not None and granted < num_cores:
        usable = max(1, math.floor(granted))
        message = f"{num_cores} are visible, but this container may use only {granted:g}"
        remedy = f"tell Ray and torch: ray start --num-cpus={usable}, OMP_NUM_THREADS={usable}"
        return warning("cores", message, remedy)
    if omp_threads.isdecimal() and int(omp_threads) > num_cores:
        remedy = f"unset it or lower it to {num_cores}: surplus threads slow each other down"
        return warning("cores", f"{num_cores}, but OMP_NUM_THREADS={omp_threads}", remedy)
    return ok("cores", f"{num_cores}")


def granted_cores(groups: Path = CONTROL_GROUPS) -> float | None:
    """Number of cores that the control groups of this process grant; None if they set no limit."""
    shares: list[float] = []
    for folder in _process_groups(groups):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not quota:  # version 1 of control groups
            quota, period = _read(folder / "cpu/cpu.cfs_quota_us"), _read(folder / "cpu/cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal():
            shares.append(int(quota) / int(period))
    return min(shares, default=None)


def granted_bytes(groups: Path = CONTROL_GROUPS) -> int | None:
    """Memory that the control groups of this process grant; None if they set no limit."""
    limits = (
        _read(folder / name)
        for folder in _process_groups(groups)
        for name in ("memory.max", "memory/memory.limit_in_bytes")
    )
    return min((int(limit) for limit in limits if limit.isdecimal()), default=None)


def check_memory(total: float, available: float, num_cores: int) -> CheckResult:
    """Check that the memory is enough for a trial on each core."""
    message = f"{total / GIB:.1f} GiB, {available / GIB:.1f} GiB of it free"
    if available < TRIAL_BYTES:
        return problem("memory", message, f"close other programs: a trial takes about {TRIAL_BYTES / GIB:g} GiB")
    if available < num_cores * TRIAL_BYTES:
        remedy = f"run fewer trials at once: --set budget.max_concurrent={int(available // TRIAL_BYTES)}"
        return warning("memory", f"{message}, for a trial on each of {num_cores} cores", remedy)
    return ok("memory", message)


def check_shared_memory(total: int) -> CheckResult:
    """Check that Ray's object store fits into shared memory; elsewhere it is slow."""
    message = f"{total / GIB:.2f} GiB"
    if total >= MIN_SHARED_BYTES:
        return ok("shared memory", message)
    remedy = (
        "give the container more: docker run --shm-size=2g, or in Kubernetes an emptyDir of medium Memory at "
        "/dev/shm; otherwise Ray keeps its objects on disk"
    )
    return warning("shared memory", message, remedy)


def check_open_files(limit: float) -> CheckResult:
    """Check that Ray may open as many files and connections as it needs; ``limit`` is infinite where there is none."""
    if limit >= GOOD_FILES:
        return ok("open files", "no limit" if math.isinf(limit) else f"up to {limit:,}")
    result = problem if limit < MIN_FILES else warning
    message = f"up to {limit:,}, but Ray asks for {GOOD_FILES:,}"
    return result("open files", message, f"run ulimit -n {GOOD_FILES} before ray start")


def check_disk(topic: str, folder: Path, setting: str) -> CheckResult:
    """Check the free space of the disk that holds, or will hold, a folder; ``setting`` chooses another one."""
    usage = shutil.disk_usage(_innermost_existing(folder))
    message = f"{usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB free at {folder}"
    remedy = f"free some space, or choose another disk with {setting}"
    if usage.free < MIN_FREE_BYTES // 4 or usage.free < (1 - FULL_PCT / 100) * usage.total:
        return problem(topic, message, remedy)
    return ok(topic, message) if usage.free >= MIN_FREE_BYTES else warning(topic, message, remedy)


def check_data_cache() -> CheckResult:
    """Check the disk of the folder into which shards of remote data sets are fetched, and that it can be written to."""
    topic, setting = "disk of the data cache", "RCN_SEARCH_CACHE"
    try:
        folder = shard_cache_folder()
        result = check_disk(topic, folder, setting)
        if os.access(_innermost_existing(folder), os.W_OK):
            return result
        message = f"{folder} cannot be written to"
    except OSError as error:
        message = str(error)
    return warning(topic, message, f"data sets on object storage need one: set {setting} to another folder")


def _innermost_existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())


def _check_open_files_if_limited() -> Iterator[CheckResult]:
    try:
        import resource
    except ImportError:  # Windows
        return
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield check_open_files(math.inf if limit == resource.RLIM_INFINITY else limit)


def _process_groups(groups: Path) -> list[Path]:
    """The control group of this process and its parents."""
    folder = groups / _read(Path("/proc/self/cgroup")).rpartition("0::")[2].strip("/ \n")
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(groups))]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
