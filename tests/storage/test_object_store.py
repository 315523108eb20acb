"""Object stores: conditional puts, connections, and explained errors."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import boto3
import botocore.exceptions
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from rcn_search import storage
from rcn_search.storage import object_store
from tests.support.stores import every_store, every_store_but_memory, free_at_first, on_a_server


@every_store_but_memory
@every_store
def test_put_if_absent_of_simultaneous_writers_has_one_winner(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also among writers that all found the name free: a look before the put is no guard."""
    uri = storage.join(store, "race")
    monkeypatch.setattr(object_store._Store, "_mark", free_at_first())
    barrier = threading.Barrier(8)
    winners: list[bytes] = []
    faults: list[Exception] = []

    def put(number: int) -> None:
        content = b"%d" % number * 10_000
        barrier.wait()
        try:
            storage.write_bytes(uri, content, if_absent=True)
            winners.append(content)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(fault) for fault in faults] == [storage.ObjectExistsError] * 7
    assert winners == [storage.read_bytes(uri)]


def test_put_if_absent_without_conditional_put_looks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Object stores that know no If-None-Match ignore it: then the look before the put is all there is."""
    put = MemoryFileSystem.pipe_file
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", lambda self, path, value, mode: put(self, path, value))
    storage.write_bytes("memory://unconditional/once", b"first", if_absent=True)
    with pytest.raises(storage.ObjectExistsError):
        storage.write_bytes("memory://unconditional/once", b"second", if_absent=True)


@on_a_server
@every_store
def test_listing_shows_objects_of_other_writers(store: str) -> None:
    """A listing once seen says nothing about now."""
    other, (bucket, _, folder) = boto3.Session().client("s3"), store.removeprefix("s3://").partition("/")
    storage.write_bytes(f"{store}/mine", b"x")
    assert storage.list_names(store) == ["mine"]
    other.put_object(Bucket=bucket, Key=f"{folder}/theirs", Body=b"y")
    assert storage.exists(f"{store}/theirs")
    assert storage.list_names(store) == ["mine", "theirs"]
    other.delete_object(Bucket=bucket, Key=f"{folder}/mine")
    assert not storage.exists(f"{store}/mine")
    storage.delete(f"{store}/theirs")
    assert storage.list_names(store) == []


def test_connect_uses_aws_profile_and_environment(
    moto_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile with an endpoint of its own; then variables for S3 alone, and the region as most tools name it."""
    url, key, secret = (os.environ[f"AWS_{name}"] for name in ("ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    credentials = f"aws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    (tmp_path / "config").write_text(f"[profile lab]\nendpoint_url = {url}\nregion = eu-north-1\n{credentials}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    storage.write_bytes(f"{moto_store}/a", b"by profile")
    for name, value in {"ENDPOINT_URL_S3": url, "REGION": "eu-north-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    assert storage.read_bytes(f"{moto_store}/a") == b"by profile"
    store, _ = object_store._connect(moto_store)
    assert store.filesystem.s3.meta.region_name == "eu-north-1"


def test_connect_is_shared_by_threads(moto_store: str) -> None:
    stores: list[object] = []
    threads = [threading.Thread(target=lambda: stores.append(object_store._connect(moto_store)[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(store) for store in stores}) == 1


def test_errors_of_back_ends_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(OSError, match=r"s3://bucket/a: .*Unable to locate credentials"):
        storage.read_bytes("s3://bucket/a")
    with pytest.raises(ValueError, match="Protocol not known: carrier-pigeon"):
        storage.read_bytes("carrier-pigeon://coop/a")
    with pytest.raises(ValueError, match=r"gs://bucket/a: Please install gcsfs"):
        storage.write_bytes("gs://bucket/a", b"x")


def test_missing_credentials_in_a_ray_job_name_ray_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job has the environment of its node, so setting the variables in the shell that submits it changes nothing."""
    error = botocore.exceptions.NoCredentialsError()
    assert str(object_store._explained("s3://b/k", "reading", error, 1)).endswith(
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    )
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert "or AWS_PROFILE in the environment of ray start, on every node" in str(
        object_store._explained("s3://b/k", "reading", error, 1)
    )
