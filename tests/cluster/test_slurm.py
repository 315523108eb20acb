"""cluster/slurm.sh against real Ray; `srun`, `squeue` and `scontrol` are programs of this test."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rcn_search.cluster.wait_for_nodes import wait_for_nodes
from rcn_search.errors import RcnSearchError
from tests.cluster.conftest import REPOSITORY, activated, free_port
from tests.cluster.test_job import end_states, write_study_file

SCRIPT = REPOSITORY / "cluster" / "slurm.sh"
TIMEOUT_S = 900
PROGRAMS = {
    # Runs its command here; the tasks of the second node, too.
    "srun": 'while [[ $1 == --* ]]; do shift; done\nexec "$@"',
    "squeue": 'echo "$FAKE_END"',
    "scontrol": 'case $1 in\nshow) echo node1 ;;\n*) echo "$@" >>"$FAKE_CALLS" ;;\nesac',
    "hostname": "echo 127.0.0.1",
}

Submit = Callable[..., tuple[int, str]]


@pytest.fixture
def submit(tmp_path: Path) -> Submit:
    """Run the script as Slurm would; its exit code and output."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)

    def run(*line: object, end: datetime | None = None, num_nodes: int = 1, job: bool = True) -> tuple[int, str]:
        environment = activated(
            FAKE_END=f"{end:%Y-%m-%dT%H:%M:%S}" if end else "N/A",
            FAKE_CALLS=str(tmp_path / "calls"),
            RCN_SEARCH_STOP_S="60",
            RCN_SEARCH_RAY_PORT=str(free_port()),
        )
        environment["PATH"] = f"{programs}:{environment['PATH']}"
        environment.pop("RAY_AUTH_MODE", None)
        if job:
            environment |= {
                **{"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": str(num_nodes), "SLURM_JOB_NODELIST": "node1"},
                **{"SLURM_CPUS_PER_TASK": "1"},
            }
        done = subprocess.run(
            ["bash", SCRIPT, *map(str, line)],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            timeout=TIMEOUT_S,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_slurm_script_passes_shellcheck() -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    subprocess.run(["shellcheck", SCRIPT], check=True)


def test_slurm_script_refuses_what_would_lose_work(submit: Submit) -> None:
    line = ("rcn.yaml", "--data", "x")
    for code, text, expected in (
        (*submit(), "no study file"),
        (*submit(*line, "--study", "s", job=False), "not a Slurm job; submit it: sbatch"),
        (*submit(*line), "--study is missing"),
        (*submit(*line, "--study", "s", end=datetime.now() + timedelta(seconds=50)), "raise --time"),
    ):
        assert (code, expected in text) == (2, True), text


def test_wait_for_nodes_without_a_head_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(RcnSearchError, match=f"no Ray at {address} after 0 s"):
        wait_for_nodes(1, wait_s=0)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(RcnSearchError, match="set it to HOST:PORT"):
        wait_for_nodes(1)


@pytest.mark.slow
@pytest.mark.timeout(2 * TIMEOUT_S)
def test_slurm_job_near_its_limit_is_queued_again_and_then_resumes(
    submit: Submit, synthetic_uri: str, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    path = write_study_file(tmp_path, synthetic_uri, trials=3, epochs=40)
    line = (path, "--study", study)
    code, text = submit(*line, end=datetime.now() + timedelta(seconds=60 + 45), num_nodes=2)
    assert code == 0, text
    assert "the job is queued again" in text
    assert (tmp_path / "calls").read_text() == "requeue 7\n"
    assert "1 CPU, 0 GPU + 1 CPU, 0 GPU" in text, "both nodes were there when the search was planned"
    assert len(list(study.glob("leases/*/released.json"))) == 1, text
    stopped_after = len(end_states(study))
    assert stopped_after < 3

    code, text = submit(*line)
    assert code == 0, text
    assert "3 trials, 3 complete" in text
    assert end_states(study) == ["complete"] * 3
    assert (tmp_path / "calls").read_text() == "requeue 7\n"
    trained = [json.loads(file.read_text()) for file in sorted(study.glob("trials/*/result.json"))]
    assert [[epoch["epoch"] for epoch in result["epochs"]] for result in trained] == [list(range(1, 41))] * 3
