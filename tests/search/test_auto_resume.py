from __future__ import annotations

import io
import json
import os
import re
import signal
import threading

import pytest
import yaml
from rich.console import Console

from rcn_search import storage
from rcn_search.cluster.ray_job import check_outlives_job, in_job
from rcn_search.config.loading import ConfigError
from rcn_search.search.open_or_resume import StudyRequest
from rcn_search.search.run_search import run_search
from rcn_search.study import lease as claims
from rcn_search.study.records import StudyError
from rcn_search.study.study import Study
from rcn_search.training.trainer import TrainRun, train
from tests.search.test_open_or_resume import no_board
from tests.search.test_run_search import study_file
from tests.study.test_lease import as_of, somebody


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


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("data synth data/synthetic", "DESTINATION"),
        ("train {config} --set data.uri={data}", "--out"),
        ("evaluate runs/a/best.safetensors --data {data} --split test", "--predictions"),
        ("evaluate {shared}/best.safetensors --data {data} --split test --leaderboard board", "--leaderboard"),
        ("tune {study} --leaderboard board --study {shared}/study", "--leaderboard"),
        ("reproduce table2 --data {data} --study {shared}/study --leaderboard board", "--leaderboard"),
    ],
)
def test_no_command_leaves_its_results_there(
    job, cli, line, option, tiny_config, synthetic_uri, tmp_path, tmp_path_factory
):
    config, shared = tmp_path / "config.yaml", tmp_path_factory.mktemp("shared") / "run"
    config.write_text(yaml.safe_dump(tiny_config.model_dump(mode="json")))
    train(TrainRun(tiny_config, str(shared)))
    study = study_file(tmp_path, synthetic_uri, test={"split": "test", "method": "RCN"})
    said = cli.fail(*line.format(config=config, data=synthetic_uri, shared=shared, study=study).split())
    assert "lies in the copy of the working directory that Ray made for this job and will delete" in said
    assert option in said


def test_go_on_starts_and_goes_on_and_refuses_another_study(synthetic_uri, tmp_path):
    path, study = study_file(tmp_path, synthetic_uri), str(tmp_path / "study")

    def take_up(**changes):
        return StudyRequest(space_uri=path, study_uri=study, go_on=True, **changes).prepare(Console(quiet=True), no_board)

    uri, space, manifest = take_up()
    assert Study.open(uri).num_left == 4
    assert take_up() == (uri, space, manifest)
    with pytest.raises(StudyError):
        take_up(overrides=("base.model.channels=16",))


class Terminal(io.StringIO):
    """Somebody who stops the search a moment after it has said that it waits."""

    def write(self, text: str) -> int:
        if "waiting" in text:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return super().write(text)


def test_it_waits_for_a_driver_that_may_be_dead_and_can_be_interrupted(synthetic_uri, tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "LOOK_S", 60)
    path, study, terminal = study_file(tmp_path, synthetic_uri), str(tmp_path / "study"), Terminal()
    StudyRequest(space_uri=path, study_uri=study).prepare(Console(quiet=True), no_board)
    as_of(study, 0, somebody(), seen_s=5)

    def drive(**options: bool) -> None:
        console = Console(file=terminal, width=200)
        run_search(path, study_uri=study, board=lambda: str(tmp_path / "board"), console=console, **options)

    with pytest.raises(StudyError, match="is at work"):
        drive(resume=True)
    assert not terminal.getvalue()
    with pytest.raises(KeyboardInterrupt):
        drive(go_on=True)
    assert re.search(r"process 7 on elsewhere drove this study \d+ s ago: waiting up to \d\d s", terminal.getvalue())
    assert not storage.exists(storage.join(study, "leases/000001"))
