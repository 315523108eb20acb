"""All checks together, by the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

resource = pytest.importorskip("resource")


def test_doctor_on_a_sound_machine_finds_no_problem(
    cli: Any, synthetic_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    text = cli.run("doctor", "--data", synthetic_uri, "--study", tmp_path / "new")
    assert "train 96, val 24, test 24" in text
    assert "0 problems" in text
    assert not (tmp_path / "new").exists()


def test_doctor_with_a_problem_exits_with_1(tmp_path: Path) -> None:
    """In a process of its own, because a limit on open files cannot be raised again."""
    lower = (
        f"import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (512, {resource.getrlimit(resource.RLIMIT_NOFILE)[1]}))"
    )
    run = "from rcn_search.cli.main import app; app(['doctor', '--data', 'nowhere'])"
    line = [sys.executable, "-c", f"{lower}; {run}"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, timeout=200)
    assert done.returncode == 1, done.stderr
    assert "problem  open files: up to 512, but Ray asks for 8,192\n         → run ulimit -n 8192" in done.stdout
    assert "problem  data: no data set at nowhere" in done.stdout
    assert "2 problems" in done.stdout
