"""One contract, held by every kind of place; and a whole run whose files all live on object storage."""

from __future__ import annotations

import os
import re
import resource
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from typer.testing import CliRunner

from rcn_search import storage
from rcn_search.cli.main import app
from rcn_search.data.cache import shard_cache_folder
from rcn_search.data.dataset import Dataset
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import import_dataset
from rcn_search.data.shards import DatasetError
from rcn_search.storage import object_store, retry
from rcn_search.storage import preflight as preflight_module
from rcn_search.storage.preflight import preflight

every_store = pytest.mark.every_store
# fsspec's memory:// is no place to race
everywhere_but_memory = pytest.mark.parametrize("store", ["file", "moto", "swift"], indirect=True)
on_a_server = pytest.mark.parametrize("store", ["moto", "swift"], indirect=True)


def test_a_file_uri_is_a_path(tmp_path: Path) -> None:
    storage.write_bytes(f"file://{tmp_path}/a", b"x")
    assert storage.read_bytes(str(tmp_path / "a")) == b"x"
    assert storage.list_names(f"file://{tmp_path}") == ["a"]


@every_store
def test_round_trip(store: str) -> None:
    uri = storage.join(store, "a", "b.bin")
    assert not storage.exists(uri)
    storage.write_bytes(uri, memoryview(b"\x00\xff"))
    assert storage.read_bytes(uri) == b"\x00\xff"
    assert storage.exists(uri)
    storage.write_bytes(uri, b"")
    assert storage.read_bytes(uri) == b""


@every_store
def test_put_if_absent_keeps_what_is_there(store: str) -> None:
    uri = storage.join(store, "once")
    storage.write_bytes(uri, b"first", if_absent=True)
    with pytest.raises(storage.ObjectExistsError, match=re.escape("once exists already")):
        storage.write_bytes(uri, b"second", if_absent=True)
    assert storage.read_bytes(uri) == b"first"
    assert storage.list_names(store) == ["once"]


def free_at_first() -> Callable[[object_store._Store, str], str | None]:
    """A look at a name that finds it free the first time in each thread."""
    real, seen = object_store._Store._mark, threading.local()

    def look(store: object_store._Store, path: str) -> str | None:
        if not hasattr(seen, "once"):
            seen.once = True
            return None
        return real(store, path)

    return look


@everywhere_but_memory
@every_store
def test_put_if_absent_has_one_winner(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_put_if_absent_where_puts_have_no_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Object stores that know no If-None-Match ignore it: then the look before the put is all there is."""
    put = MemoryFileSystem.pipe_file
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", lambda self, path, value, mode: put(self, path, value))
    storage.write_bytes("memory://unconditional/once", b"first", if_absent=True)
    with pytest.raises(storage.ObjectExistsError):
        storage.write_bytes("memory://unconditional/once", b"second", if_absent=True)


@every_store
def test_names_are_those_right_under_a_folder(store: str) -> None:
    assert storage.list_names(storage.join(store, "nowhere")) == []
    for name in ("b", "a", "folder/deeper/c", ".a.0123.tmp"):
        storage.write_bytes(storage.join(store, name), b"x")
    assert storage.list_names(store) == ["a", "b", "folder"]


@every_store
def test_delete_twice(store: str) -> None:
    uri = storage.join(store, "a")
    storage.write_bytes(uri, b"x")
    storage.delete(uri)
    storage.delete(uri)
    assert not storage.exists(uri)
    assert storage.list_names(store) == []


@every_store
def test_missing_objects_are_named(store: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        storage.read_bytes(storage.join(store, "gone.json"))
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        storage.read_json(storage.join(store, "gone.json"))


@every_store
def test_json(store: str) -> None:
    uri = storage.join(store, "a.json")
    document = {"ä": [1, 2.5, None, True], "b": {}}
    storage.write_json(uri, document)
    assert storage.read_json(uri) == document
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(uri, {"loss": float("nan")})
    assert storage.read_json(uri) == document
    for content in (b"{", b"\xff\xfe"):
        storage.write_bytes(uri, content)
        with pytest.raises(ValueError, match=re.escape(f"{uri} is not valid JSON")):
            storage.read_json(uri)


@on_a_server
@every_store
def test_what_others_write_is_seen(store: str) -> None:
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


def test_settings_of_aws_lead_to_the_store(moto_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_many_threads_share_a_connection(moto_store: str) -> None:
    stores: list[object] = []
    threads = [threading.Thread(target=lambda: stores.append(object_store._connect(moto_store)[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(store) for store in stores}) == 1


def test_faults_of_a_back_end_are_errors_a_user_can_mend(monkeypatch: pytest.MonkeyPatch) -> None:
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


@every_store
def test_a_preflight_finds_nothing_wrong_and_leaves_nothing(store: str) -> None:
    storage.write_bytes(storage.join(store, "mine"), b"x")
    preflight(store)
    assert storage.list_names(store) == ["mine"]
    if storage.is_local(store):
        preflight(storage.join(store, "a", "folder", "to", "be"))
        assert [path.name for path in Path(store).iterdir()] == ["mine"]


@on_a_server
@every_store
def test_a_preflight_says_what_is_wrong(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_preflight_of_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(storage.StorageError, match=f"{tmp_path}/file cannot be used: .*File exists"):
        preflight(str(tmp_path / "file"))
    with pytest.raises(storage.StorageError, match="/proc/nothing cannot be used"):
        preflight("/proc/nothing")


def test_a_store_that_ignores_conditions_is_refused(moto_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_preflight_where_no_thread_can_be_started(moto_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


@contextmanager
def disk_of(num_bytes: int) -> Iterator[None]:
    """Within: no file of this process can grow beyond this, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def no_sync(descriptor: int) -> None:
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize("if_absent", [False, True])
def test_a_write_that_fails_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, if_absent: bool
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"old")
    target = new if if_absent else old
    with disk_of(1_000), pytest.raises(OSError, match="too large"):
        storage.write_bytes(str(target), b"x" * 100_000, if_absent=if_absent)
    monkeypatch.setattr("os.fsync", no_sync)
    with pytest.raises(OSError, match="Input/output error"):
        storage.write_bytes(str(target), b"x", if_absent=if_absent)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"old": b"old"}


def test_content_is_on_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr("os.fsync", lambda descriptor: seen.append(storage.list_names(str(tmp_path))))
    storage.write_bytes(str(tmp_path / "a"), b"x")
    assert seen == [[], ["a"]]  # of the content, then of the folder


def test_local_uris() -> None:
    assert storage.local_path("file:///a/b") == Path("/a/b")
    assert storage.local_path("~/a") == Path.home() / "a"
    with pytest.raises(ValueError, match="s3://a/b is not on this machine's disk"):
        storage.local_path("s3://a/b")


def test_absolute_is_the_same_place_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("runs/a") == f"{tmp_path}/runs/a"
    assert storage.absolute("s3://bucket/runs/a") == "s3://bucket/runs/a"


def test_join_has_single_slashes() -> None:
    assert storage.join("s3://bucket/a/", "/b/", "c") == "s3://bucket/a/b/c"


@on_a_server
@every_store
def test_a_run_on_object_storage(store: str, tmp_path: Path) -> None:
    """Import, verify, train, resume and evaluate: no file but the shards' cache is local."""
    data, run = f"{store}/data", f"{store}/run"
    import_dataset(SyntheticImporter(num_train=8, num_val=4, num_test=4), data)
    config = tmp_path / "config.yaml"
    config.write_text(
        f"data: {{uri: '{data}'}}\nmodel: {{name: rcn, branches: 2, channels: 4}}\n"
        "schedule: {epochs: 1, batch_size: 8}\n"
        "compute: {precision: fp32, channels_last: false, threads: 1}\n"
    )
    train = ["train", str(config), "--out", run]
    for line, expected in [
        (["data", "verify", data], "3 shards, 16 rows: all intact"),
        (train, f"→ {run}/best.safetensors"),
        ([*train, "--resume"], "resumed after 1 of 1 epochs"),
        (["evaluate", f"{run}/best.safetensors", "--data", data], f"→ {run}/predictions-val.parquet"),
    ]:
        result = CliRunner().invoke(app, line)
        assert result.exit_code == 0, result.output
        assert expected in result.stdout
    files = {"best.safetensors", "config.json", "history.json", "last.safetensors", "predictions-val.parquet"}
    assert files <= {*storage.list_names(run)}


def damage_cache(data: str) -> None:
    """A local copy of a shard goes bad; the shard does not."""
    shard = Dataset(data).manifest.splits["train"][0]
    (shard_cache_folder() / f"{shard.sha256}.arrow").write_bytes(b"bad")


def damage_shard(data: str) -> None:
    shard = Dataset(data).manifest.splits["train"][0]
    damage_cache(data)
    storage.write_bytes(storage.join(data, shard.file), b"bad")


@pytest.mark.parametrize(("damage", "mended"), [(damage_cache, True), (damage_shard, False)])
@on_a_server
def test_a_fetched_shard_is_verified(store: str, damage: Callable[[str], None], mended: bool) -> None:
    data = f"{store}/verified"
    import_dataset(SyntheticImporter(num_train=2, num_val=1, num_test=1), data)
    assert Dataset(data).split("train").num_rows == 2
    damage(data)
    if mended:
        assert Dataset(data).split("train").num_rows == 2
    else:
        with pytest.raises(DatasetError, match=rf"damaged shard {data}/shards/train-00000.arrow: 3 bytes instead of"):
            Dataset(data).split("train")
