"""Ray jobs: whether this process is one, and whether its results outlive the copy of the working directory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rcn_search import storage
from rcn_search.config.errors import ConfigError

_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Environment variable in which Ray's job server describes a job (tests/cluster/test_job.py runs real ones)."""


def is_ray_job() -> bool:
    """Whether this process was started by ``ray job submit``."""
    return "job_submission_id" in _job().get("metadata", {})


def check_job_options(data_uri: str, study_uri: str) -> None:
    """Check that a Ray job has its data, or at least names its study; the line without both options cannot be run.

    Raises:
        ConfigError: There is no data set, and no ``study_uri`` is given.
    """
    if is_ray_job() and not study_uri and not storage.exists(storage.join(data_uri, "manifest.json")):
        raise ConfigError(
            f"this Ray job needs two more options: --data DATA, because there is no data set at {data_uri} on the "
            "machine that runs it, and --study STUDY, because a folder there is lost with that machine; both are "
            "folders that all nodes share, or s3://…"
        )


def check_outlives_job(uri: str, option: str) -> None:
    """Check that results are not written to the copy of the working directory that Ray deletes after the job.

    Raises:
        ConfigError: ``uri`` lies in that copy; the message names the command-line ``option`` that chooses another one.
    """
    if _is_in_copy(uri):
        raise ConfigError(
            f"{uri} is in this job's copy of the working directory, which Ray deletes after the job; name a shared "
            f"folder or s3://… with {option}"
        )


def check_travels_with_job(data_uri: str) -> None:
    """Check that a data set in the job's copy of the working directory was copied there.

    Raises:
        ConfigError: There is none.
    """
    if _is_in_copy(data_uri) and not storage.exists(data_uri):
        raise ConfigError(
            f"there is no data set at {data_uri}: that is in this job's copy of the working directory, which has only "
            "what ray job submit sends; name a shared folder or s3://… with --data"
        )


def _is_in_copy(uri: str) -> bool:
    has_copy = bool(_job().get("runtime_env", {}).get("working_dir"))
    return has_copy and storage.is_local(uri) and Path(storage.absolute(uri)).is_relative_to(Path.cwd())


def _job() -> dict[str, Any]:
    try:
        document = json.loads(os.environ.get(_JOB, "{}"))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
