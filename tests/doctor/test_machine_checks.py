"""Checks of cores, memory, open files and disks; on systems that lack some of them, too."""

from __future__ import annotations

import builtins
import math
import os
from pathlib import Path
from typing import Any

import pytest

from rcn_search.doctor import machine_checks
from rcn_search.doctor.check_result import CheckResult
from rcn_search.doctor.machine_checks import (
    CONTROL_GROUPS,
    GIB,
    check_cores,
    check_disk,
    check_machine,
    check_memory,
    check_open_files,
    check_shared_memory,
    granted_bytes,
    granted_cores,
)
from tests.support.doctor import state_of


@pytest.mark.parametrize(
    ("result", "state", "words"),
    [
        (check_cores(8, None, ""), "ok", "8"),
        (check_cores(8, 2.5, ""), "warning", "--num-cpus=2"),
        (check_cores(8, 0.5, ""), "warning", "--num-cpus=1"),
        (check_cores(2, None, "16"), "warning", "lower it to 2"),
        (check_memory(32 * GIB, 16 * GIB, 8), "ok", "16.0 GiB of it free"),
        (check_memory(32 * GIB, 4 * GIB, 8), "warning", "budget.max_concurrent=4"),
        (check_memory(32 * GIB, GIB // 2, 8), "problem", "close other programs"),
        (check_shared_memory(64 * 2**20), "warning", "--shm-size"),
        (check_shared_memory(2 * GIB), "ok", "2.00 GiB"),
        (check_open_files(512), "problem", "ulimit -n 8192"),
        (check_open_files(1024), "warning", "ulimit -n 8192"),
        (check_open_files(math.inf), "ok", "no limit"),
    ],
)
def test_machine_checks_judge_a_value(result: CheckResult, state: str, words: str) -> None:
    assert state_of(result) == state
    assert words in f"{result.message} {result.remedy}"


@pytest.mark.parametrize(
    ("free", "total", "state"),
    [
        (50 * GIB, 60 * GIB, "ok"),
        (1.5 * GIB, 3.5 * GIB, "warning"),
        (0.2 * GIB, 3.5 * GIB, "problem"),
        (4 * GIB, 1000 * GIB, "problem"),  # a large disk that is full by Ray's measure
    ],
)
def test_check_disk_judges_free_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, total: float, state: str
) -> None:
    usage = type("Usage", (), {"free": free, "total": total})
    monkeypatch.setattr(machine_checks.shutil, "disk_usage", lambda path: usage)
    result = check_disk("disk", tmp_path / "does/not/exist/yet", "SETTING")
    assert state_of(result) == state
    assert state == "ok" or "SETTING" in result.remedy


def test_granted_is_the_smallest_limit_of_the_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = tmp_path / "pod/container"
    group.mkdir(parents=True)
    monkeypatch.setattr(machine_checks, "_process_groups", lambda groups: [group, group.parent, groups])
    assert granted_cores(tmp_path) is None
    assert granted_bytes(tmp_path) is None
    (group / "cpu.max").write_text("max 100000\n")
    (group.parent / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "cpu.max").write_text("300000 100000\n")
    (group / "memory.max").write_text("max\n")
    (tmp_path / "memory.max").write_text(f"{3 * GIB}\n")
    assert granted_cores(tmp_path) == 1.5
    assert granted_bytes(tmp_path) == 3 * GIB


def test_process_groups_end_at_the_root() -> None:
    *_, root = machine_checks._process_groups(CONTROL_GROUPS)
    assert root == CONTROL_GROUPS


def test_check_machine_without_linux_checks_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, which has no affinity, control groups and /dev/shm, and on Windows, which has no `resource`."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for name in ("SHARED_MEMORY", "CONTROL_GROUPS"):
        monkeypatch.setattr(machine_checks, name, Path("/does/not/exist"))
    monkeypatch.setattr(machine_checks, "_read", lambda path: "")
    import_module = builtins.__import__

    def without_resource(name: str, *arguments: Any) -> Any:
        if name == "resource":
            raise ImportError(name)
        return import_module(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without_resource)
    topics = [result.topic for result in check_machine()]
    assert topics == ["cores", "memory", "disk of the data cache", "disk of Ray's sessions"]
