"""The environment of a Ray job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def ray_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment of a job that was submitted with --working-dir, as Ray 2.60 makes it."""
    document = {
        "runtime_env": {"working_dir": "gcs://_ray_pkg_ea10b5f6fc785b95.zip"},
        "metadata": {"job_submission_id": "one", "job_name": "one"},
    }
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(document))
    copy = tmp_path / "copy"
    copy.mkdir()
    monkeypatch.chdir(copy)
