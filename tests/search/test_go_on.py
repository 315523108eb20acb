from __future__ import annotations

import json

import pytest
from rich.console import Console

from rcn_search.config_file import ConfigError
from rcn_search.search.job import check_outlives_job, in_job
from rcn_search.search.ledger import StudyError
from rcn_search.search.study import Study
from rcn_search.search.takeup import TakeUp
from tests.search.test_driver import study_file


@pytest.fixture
def job(monkeypatch, tmp_path):
    """The environment of a job that was submitted with --working-dir, as Ray 2.60 makes it."""
    document = {
        "runtime_env": {"working_dir": "gcs://_ray_pkg_ea10b5f6fc785b95.zip"},
        "metadata": {"job_submission_id": "one", "job_name": "one"},
    }
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(document))
    copy = tmp_path / "copy"
    copy.mkdir()
    monkeypatch.chdir(copy)


def test_a_job_knows_that_it_is_one(job):
    assert in_job()


@pytest.mark.parametrize("said", ["", "no JSON", "[]", "{}"])
def test_anything_else_is_none(monkeypatch, said):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", said)
    assert not in_job()
    check_outlives_job("studies/rcn", "--study")


def test_results_in_the_copy_of_the_working_directory_are_refused(job, tmp_path):
    with pytest.raises(ConfigError, match="name a place that stays with --study"):
        check_outlives_job("studies/rcn", "--study")
    check_outlives_job(str(tmp_path / "shared/rcn"), "--study")
    check_outlives_job("s3://studies/rcn", "--study")


def test_go_on_starts_and_goes_on_and_refuses_another_study(synthetic_uri, tmp_path):
    path, study = study_file(tmp_path, synthetic_uri), str(tmp_path / "study")

    def take_up(**changes):
        return TakeUp(space_uri=path, study_uri=study, go_on=True, **changes).prepare(Console(quiet=True))

    uri, space = take_up()
    assert Study.open(uri).num_left == 4
    assert take_up() == (uri, space)
    with pytest.raises(StudyError):
        take_up(overrides=("base.model.channels=16",))
