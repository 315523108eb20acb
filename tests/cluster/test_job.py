"""``ray job submit`` against a real head: uploaded files, exit codes, stopping and resuming."""

from __future__ import annotations

import json
import re
import time
import zipfile
from pathlib import Path

import pytest
import yaml
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

from rcn_search.study.lease import read_lease
from tests.cluster.conftest import REPOSITORY, Head

TIMEOUT_S = 1_000
NUM_EPOCHS = 20
POLL_S = 0.05
MIB = 2**20


def write_study_file(folder: Path, data_uri: str, *, trials: int, epochs: int) -> Path:
    document = {
        "study": {"name": "job"},
        "base": {
            "data": {"uri": data_uri},
            "checkpoint": {"every_s": 0},
            "model": {"name": "rcn", "branches": 2, "channels": 8},
            "schedule": {"batch_size": 16},
            "compute": {"precision": "fp32", "channels_last": False},
        },
        "search": {"optimizer.lr": {"float": [1e-3, 1e-2]}},
        "budget": {"trials": trials, "epochs": epochs, "max_concurrent": 1},
        "scheduler": {"name": "none"},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def submit(head: Head, *line: object) -> tuple[int, str]:
    """Exit code and output of a job, submitted as cluster/job.yaml says."""
    job = head.ray_job("submit", "--runtime-env", "cluster/job.yaml", *map(str, line))
    text, _ = job.communicate(timeout=TIMEOUT_S)
    return job.returncode, text


def end_states(study: Path) -> list[str]:
    """States of the trials that ended."""
    return [json.loads(path.read_text())["state"] for path in sorted(study.glob("trials/*/result.json"))]


@pytest.mark.slow
@pytest.mark.timeout(2 * TIMEOUT_S)
def test_ray_job_exit_code_is_that_of_its_search(head, synthetic_uri, tmp_path):
    study = tmp_path / "study"
    path = write_study_file(tmp_path, synthetic_uri, trials=1, epochs=2)
    code, text = submit(head, "--", "python", "-m", "rcn_search.tune", path, "--study", study)
    assert code == 0, text
    assert "1 trials, 1 complete" in text
    assert end_states(study) == ["complete"]

    code, text = submit(head, "--", "python", "-m", "rcn_search.tune", path, "--data", tmp_path / "nowhere")
    assert code == 1, text
    assert f"error: no data set at {tmp_path / 'nowhere'}" in text


@pytest.mark.slow
@pytest.mark.timeout(2 * TIMEOUT_S)
def test_ray_job_stopped_releases_its_lease_and_the_next_resumes(head, synthetic_uri, tmp_path):
    study = tmp_path / "study"
    path = write_study_file(tmp_path, synthetic_uri, trials=2, epochs=NUM_EPOCHS)
    line = ("--", "python", "-m", "rcn_search.tune", path, "--study", study)
    code, text = submit(head, "--no-wait", "--submission-id", "stopped", *line)
    assert code == 0, text
    history = study / "trials/000000/history.json"
    deadline = time.monotonic() + TIMEOUT_S
    while not history.exists():
        assert not end_states(study), "it ended before it could be stopped"
        assert time.monotonic() < deadline, head.ray_job("logs", "stopped").communicate()[0]
        time.sleep(POLL_S)

    stopped, _ = head.ray_job("stop", "stopped").communicate(timeout=TIMEOUT_S)
    assert "was stopped" in stopped
    text, _ = head.ray_job("logs", "stopped").communicate(timeout=TIMEOUT_S)
    assert f"resumes {study}" in text
    assert read_lease(str(study)).released
    assert len(end_states(study)) < 2
    before = json.loads(history.read_text())

    code, text = submit(head, *line)
    assert code == 0, text
    assert end_states(study) == ["complete", "complete"]
    after = json.loads(history.read_text())
    assert len(after) == NUM_EPOCHS
    assert after[: len(before)] == before, "trained again"


@pytest.mark.slow
@pytest.mark.timeout(2 * TIMEOUT_S)
def test_doctor_as_a_ray_job_checks_every_node(head, synthetic_uri, tmp_path):
    options = ("--data", synthetic_uri, "--study", str(tmp_path / "study"))
    job = head.ray_job("submit", "--", "rcn-search", "doctor", *options)
    text, _ = job.communicate(timeout=TIMEOUT_S)
    assert job.returncode == 0, text
    (node,) = re.findall(r"ok +cluster: 1 nodes: (\S+) with 2 CPU, 0 GPU", text)
    assert f"ok       {node}, versions: Python " in text, text
    assert f"{node}, shared memory: " in text, text


@pytest.mark.slow
@pytest.mark.timeout(2 * TIMEOUT_S)
def test_literal_line_of_a_ray_job_says_in_one_line_which_two_options_it_lacks(head):
    job = head.ray_job("submit", "--", "python", "-m", "rcn_search.tune", "search_spaces/rcn.yaml")
    text, _ = job.communicate(timeout=TIMEOUT_S)
    assert job.returncode == 1, text
    (line,) = set(re.findall(r"^error: .*$", text, re.MULTILINE))  # Ray prints the end of the log once more
    assert "this Ray job needs two more options: --data DATA, because there is no data set at" in line
    assert "and --study STUDY, because" in line
    assert "Traceback" not in text.split("error: ")[0]


def uploaded_names(folder: Path, package: Path) -> set[str]:
    create_package(str(folder), package, include_gitignore=True, excludes=get_runtime_env_default_excludes())
    with zipfile.ZipFile(package) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_uploaded_files_of_a_job_are_the_package_and_its_configurations(tmp_path):
    checkout = tmp_path / "checkout"
    uploaded = {"rcn_search/tune.py", "rcn_search/data/sample.py", "search_spaces/rcn.yaml", "configs/rcn6.yaml"}
    ignored = {
        ".git/objects/pack",
        ".venv/lib/torch.so",
        ".mypy_cache/3.11",
        "data/mtfl/shard.arrow",
        "runs/a/best.safetensors",
        "studies/rcn/study.json",
        "quickstart/data/manifest.json",
        "leaderboard/entries/entry.json",
        "tests/test_cli.py",
        "mtfl/shard.arrow",
        "elsewhere/best.safetensors",
        "300W.zip",
    }
    for name in uploaded | ignored:
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    for ignore in (".gitignore", ".rayignore"):
        (checkout / ignore).write_bytes((REPOSITORY / ignore).read_bytes())
    assert uploaded_names(checkout, tmp_path / "package.zip") == {*uploaded, ".gitignore", ".rayignore"}


def test_uploaded_files_of_this_checkout_are_far_below_rays_limit(tmp_path):
    names = uploaded_names(REPOSITORY, tmp_path / "package.zip")
    assert {"rcn_search/tune.py", "search_spaces/rcn.yaml"} <= names
    assert (tmp_path / "package.zip").stat().st_size < 8 * MIB  # of 512
