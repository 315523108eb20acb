"""Whether a process is a Ray job, and whether its results outlive the job."""

from __future__ import annotations

from pathlib import Path

import pytest

from rcn_search.cluster.ray_job import check_job_options, check_outlives_job, check_travels_with_job, is_ray_job
from rcn_search.config.errors import ConfigError


@pytest.mark.usefixtures("ray_job")
def test_in_job_in_a_job_is_true() -> None:
    assert is_ray_job()


@pytest.mark.parametrize("config", ["", "no JSON", "[]", "{}"])
def test_in_job_with_any_other_environment_is_false(monkeypatch: pytest.MonkeyPatch, config: str) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", config)
    assert not is_ray_job()
    check_outlives_job("studies/rcn", "--study")


@pytest.mark.usefixtures("ray_job")
def test_check_outlives_job_refuses_the_copy_of_the_working_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="with --study"):
        check_outlives_job("studies/rcn", "--study")
    check_outlives_job(str(tmp_path / "shared/rcn"), "--study")
    check_outlives_job("s3://studies/rcn", "--study")


@pytest.mark.usefixtures("ray_job")
def test_check_travels_with_job_refuses_only_what_was_not_sent(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"which has only what ray job submit sends; .* with --data"):
        check_travels_with_job("data/mtfl")
    Path("data/mtfl").mkdir(parents=True)
    check_travels_with_job("data/mtfl")
    check_travels_with_job(str(tmp_path / "shared/mtfl"))
    check_travels_with_job("s3://bucket/mtfl")


@pytest.mark.usefixtures("ray_job")
def test_check_job_options_names_both_missing_ones_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs two more options: --data DATA, because .*, and --study STUDY, "):
        check_job_options("data/mtfl", "")
    check_job_options("data/mtfl", "s3://bucket/study")  # what is wrong with the data is said elsewhere
    Path("data/mtfl").mkdir(parents=True)
    Path("data/mtfl/manifest.json").write_text("{}")
    check_job_options("data/mtfl", "")


def test_check_job_options_is_for_ray_jobs_only() -> None:
    check_job_options("nowhere", "")
