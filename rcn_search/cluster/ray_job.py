"""What is different in a Ray job: the same line is submitted again, and the working directory may be Ray's copy."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rcn_search import storage
from rcn_search.config.errors import ConfigError

_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Name of the variable in which Ray's job server tells a job what it is."""


def in_job() -> bool:
    """Whether this process was started by ``ray job submit``."""
    return "job_submission_id" in _job().get("metadata", {})


def check_outlives_job(uri: str, option: str) -> None:
    """Make sure that what is written to ``uri`` is not gone with the job.

    Args:
        uri: Where results go.
        option: With which another place is named.

    Raises:
        ConfigError: It lies in the copy of the working directory that Ray deletes.
    """
    is_copy = bool(_job().get("runtime_env", {}).get("working_dir"))
    if is_copy and storage.is_local(uri) and Path(storage.absolute(uri)).is_relative_to(Path.cwd()):
        raise ConfigError(
            f"{uri} lies in the copy of the working directory that Ray made for this job and will delete; name a place "
            f"that stays with {option}, a shared folder or s3://…"
        )


def _job() -> dict[str, Any]:
    try:
        document = json.loads(os.environ.get(_JOB, "{}"))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
