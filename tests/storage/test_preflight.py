"""The check of a location before a search relies on it."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rcn_search import storage
from rcn_search.storage import object_store, retry
from rcn_search.storage import preflight as preflight_module
from rcn_search.storage.preflight import preflight
from tests.support.stores import every_store, free_at_first, on_a_server


@every_store
def test_preflight_of_a_good_store_leaves_nothing(store: str) -> None:
    storage.write_bytes(storage.join(store, "mine"), b"x")
    preflight(store)
    assert storage.list_names(store) == ["mine"]
    if storage.is_local(store):
        preflight(storage.join(store, "a", "folder", "to", "be"))
        assert [path.name for path in Path(store).iterdir()] == ["mine"]


@on_a_server
@every_store
def test_preflight_explains_bucket_credentials_and_endpoint(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(storage.StorageError, match=r"there is no bucket 'nowhere'; create it"):
        preflight("s3://nowhere/a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    if os.environ["AWS_ACCESS_KEY_ID"] != "moto":  # which lets all in
        with pytest.raises(storage.StorageError, match=rf"{store} cannot be used: .*Check the credentials"):
            preflight(store)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(retry, "LIMITS", retry.Limits(total_s=0.5))
    with pytest.raises(storage.StorageError, match="Check AWS_ENDPOINT_URL and that the server is running"):
        preflight(store)


def test_preflight_of_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(storage.StorageError, match=f"{tmp_path}/file cannot be used: .*File exists"):
        preflight(str(tmp_path / "file"))
    with pytest.raises(storage.StorageError, match="/proc/nothing cannot be used"):
        preflight("/proc/nothing")


def test_preflight_of_a_store_without_conditional_put_is_refused(
    moto_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = object_store._Store.call

    def ignoring(store: object_store._Store, method: str, *args: object, **options: object) -> object:
        return real(store, method, *args, **{key: value for key, value in options.items() if key != "mode"})

    class Busy(ThreadPoolExecutor):
        """A machine on which one thread is done before the next starts."""

        def submit(self, *args: Any, **options: Any) -> Future[Any]:
            future = super().submit(*args, **options)
            time.sleep(0.1)
            return future

    monkeypatch.setattr(object_store._Store, "call", ignoring)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preflight_module, "ThreadPoolExecutor", Busy)
        patch.setattr(preflight_module, "_check_round_trip", lambda uri: None)
        patch.setattr(object_store._Store, "_mark", free_at_first())
        with pytest.raises(
            storage.StorageError, match=r"4 of 4 simultaneous writers were told that they created s3://"
        ):
            preflight(moto_store)
    monkeypatch.setattr(object_store._Store, "_mark", lambda store, path: None)
    with pytest.raises(storage.StorageError, match="was overwritten by a put-if-absent"):
        preflight(moto_store)


def test_preflight_without_free_threads_is_refused(moto_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a container's limit of processes: those that were started do not wait for the others for ever."""
    monkeypatch.setattr(preflight_module, "_START_TIMEOUT_S", 0.5)
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name.endswith("_2"):
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(
        storage.StorageError, match=r"4 threads could not be started .*: can't start new thread; see uli"
    ):
        preflight(moto_store)
