"""Credentials that only the search process has reach all its workers through real Ray, and nothing else."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_list
from rich.console import Console

from rcn_search import storage
from rcn_search.cluster.credentials import Credentials
from rcn_search.cluster.train_distributed import train_with_workers
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import import_dataset
from rcn_search.search.open_or_resume import StudyRequest
from rcn_search.search.run_search import run_search
from rcn_search.search.tune_searcher import StudyRecorder
from rcn_search.training.epoch_report import EpochReport
from tests.conftest import Server
from tests.support.searches import write_tiny_study


@pytest.fixture
def remote_store(ray_cluster: None, moto: Server, moto_store: str) -> str:
    """URI on moto's S3 with a data set in ``data``, for which no process of the cluster has credentials."""
    (raylet,) = (pid for pid, parent, title in processes() if parent == os.getpid() and "/raylet " in title)
    environment = Path(f"/proc/{raylet}/environ").read_bytes()
    assert not any(name.encode() in environment for name in moto.environment())
    import_dataset(SyntheticImporter(num_train=48, num_val=12, num_test=12), f"{moto_store}/data")
    return moto_store


def processes() -> Iterator[tuple[int, int, str]]:
    """Numbers of all processes and their parents, and their titles."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            yield int(folder.name), int((folder / "stat").read_text().rpartition(")")[2].split()[1]), title


@pytest.fixture
def leaks(moto: Server, remote_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], set[str]]:
    """Function that names all that Ray and Tune write or show at this moment and that contains the secret."""
    secret = moto.secret_key.encode()
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    session = Path(ray._private.worker._global_node.get_session_dir_path())

    def find() -> set[str]:
        places = [session, tmp_path / "scratch"]
        shown = {str(path): path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()}
        shown |= {f"command line of {pid}": title.encode() for pid, _, title in processes()}
        gcs = ray._private.state.state._global_state_accessor
        tables = {
            "actors": gcs.get_actor_table(None, None),
            "tasks": gcs.get_task_events(),
            "jobs": gcs.get_job_table(),
        }
        shown |= {name: b"".join(rows) for name, rows in tables.items()}
        keys = [(space, key) for space in (None, "fun") for key in _internal_kv_list(b"", namespace=space)]
        shown |= {str((space, key)): _internal_kv_get(key, namespace=space) or b"" for space, key in keys}
        for part in (*tables, str(session / "logs/runtime_env_agent.log"), str(keys[-1])):
            assert shown[part], f"nothing was searched: {part}"
        return {name for name, content in shown.items() if secret in content}

    return find


def stored(folder: str) -> Iterator[tuple[str, bytes]]:
    """All objects of a folder, by URI."""
    for name in storage.list_names(folder):
        uri = storage.join(folder, name)
        try:
            yield uri, storage.read_bytes(uri)
        except OSError:
            yield from stored(uri)


def search(tmp_path: Path, store: str, **budget: int) -> str:
    """Run a search with one trial, and return what it prints."""
    path = write_tiny_study(
        tmp_path,
        f"{store}/data",
        search={"optimizer.lr": {"float": [1e-3, 1e-2]}},
        initial_trials=[],
        budget={"trials": 1, "epochs": 2, "max_concurrent": 1, **budget},
        scheduler={"name": "none"},
    )
    text = io.StringIO()
    request = StudyRequest(study_file=path, study_uri=f"{store}/study")
    result = run_search(request, console=Console(file=text, width=160))
    assert [trial.state for trial in result.study.trials] == ["complete"], text.getvalue()
    return text.getvalue()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_run_search_credentials_reach_all_processes_and_nothing_else(
    remote_store, leaks, moto, tmp_path, monkeypatch, workers
):
    found: list[set[str]] = []

    def find_leaks(recorder: StudyRecorder, iteration: int, trials: list[Any], **info: object) -> None:
        if not found and any("epoch" in trial.last_result for trial in trials):  # its processes live
            assert any(Path(tempfile.gettempdir()).glob("rcn-search-*/search/*")), (
                "Tune's files are not in the temporary folder"
            )
            found.append(leaks())

    monkeypatch.setattr(StudyRecorder, "on_step_end", find_leaks)
    text = search(tmp_path, remote_store, workers_per_trial=workers)
    assert [*found, leaks()] == [set(), set()]
    assert moto.secret_key not in text
    objects = dict(stored(f"{remote_store}/study"))
    assert any(uri.endswith("last.safetensors") for uri in objects)
    assert not [uri for uri, content in objects.items() if moto.secret_key.encode() in content]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_train_with_workers_credentials_reach_all_workers_and_nothing_else(remote_store, leaks, moto, tiny_config):
    data = tiny_config.data.model_copy(update={"uri": f"{remote_store}/data"})
    found: list[set[str]] = []
    messages: list[Any] = []

    def on_message(message: Any) -> None:
        messages.append(message)
        if isinstance(message, EpochReport):
            found.append(leaks())

    train_with_workers(
        tiny_config.model_copy(update={"data": data}),
        f"{remote_store}/run",
        num_workers=2,
        resume=False,
        should_stop=lambda: False,
        on_message=on_message,
    )
    assert [*found, leaks()] == [set()] * 3
    assert moto.secret_key not in str(messages)
    objects = dict(stored(f"{remote_store}/run"))
    assert f"{remote_store}/run/last.safetensors" in objects
    assert not [uri for uri, content in objects.items() if moto.secret_key.encode() in content]


def test_apply_to_environment_replaces_whole_sets(monkeypatch):
    """A session token of the node does not belong to the key that was sent, nor its endpoint to that store."""
    keys = {"AWS_ACCESS_KEY_ID": "node", "AWS_SESSION_TOKEN": "node", "AWS_PROFILE": "node"}
    rest = {"AWS_REGION": "node", "AWS_MAX_ATTEMPTS": "3", "PATH": "/bin"}
    monkeypatch.setattr(os, "environ", {**keys, "AWS_ENDPOINT_URL_S3": "http://node", **rest})
    sent = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": "http://search"}
    Credentials(sent).apply_to_environment()
    assert os.environ == {**sent, **rest}


@pytest.fixture
def profiles(tmp_path, monkeypatch) -> None:
    """Folder ``~/.aws`` with a profile of fixed keys and one of a role."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(
        "[profile lab]\nregion = eu-west-1\nendpoint_url = https://s3.lab\n"
        "request_checksum_calculation = when_required\n"
        "[profile robot]\nrole_arn = arn:aws:iam::1:role/robot\nsource_profile = lab\n"
    )
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = key\naws_secret_access_key = s3cret\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def test_from_environment_sends_the_content_of_a_profile_but_not_its_name(profiles, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "lab")
    credentials = Credentials.from_environment("/data", "s3://bucket/study")
    assert credentials.variables == {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL_S3": "https://s3.lab",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    }
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
    assert Credentials.from_environment("s3://bucket/study").variables["AWS_SECRET_ACCESS_KEY"] == "mine"


def test_from_environment_does_not_send_credentials_that_expire(profiles, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "robot")
    assert {"AWS_REQUEST_CHECKSUM_CALCULATION"} == Credentials.from_environment("s3://bucket/study").variables.keys()


def test_from_environment_without_s3_sends_nothing(profiles, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("AWS_PROFILE", "that is not there")
    assert not Credentials.from_environment("/data", "memory://study").variables


def test_credentials_repr_hides_secrets():
    credentials = Credentials({"AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_REGION": "here"})
    assert repr(credentials) == str(credentials) == "Credentials(AWS_REGION, AWS_SECRET_ACCESS_KEY)"
