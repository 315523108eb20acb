"""One contract, held by every kind of place; and a whole run whose files all live on object storage."""

from __future__ import annotations

import re
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

from rcn_search import storage, storage_remote
from rcn_search.cli import app
from rcn_search.data.dataset import ShardedDataset
from rcn_search.data.importers.base import import_dataset
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.shards import DatasetError, cache_folder

BUCKET = "bucket"


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An empty bucket of an S3 server in this process."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield f"s3://{BUCKET}"
    server.stop()


KINDS = ["path", "file", "memory", "s3"]


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder at a URI."""
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"
    return {"path": str(tmp_path), "file": f"file://{tmp_path}", "memory": f"memory://{tmp_path}"}[request.param]


def test_round_trip(place: str) -> None:
    uri = storage.join(place, "a", "b.bin")
    assert not storage.exists(uri)
    storage.write_bytes(uri, memoryview(b"\x00\xff"))
    assert storage.read_bytes(uri) == b"\x00\xff"
    assert storage.exists(uri)
    storage.write_bytes(uri, b"")
    assert storage.read_bytes(uri) == b""


def test_put_if_absent_keeps_what_is_there(place: str) -> None:
    uri = storage.join(place, "once")
    storage.write_bytes(uri, b"first", if_absent=True)
    with pytest.raises(storage.ObjectExistsError, match=re.escape("once exists already")):
        storage.write_bytes(uri, b"second", if_absent=True)
    assert storage.read_bytes(uri) == b"first"
    assert storage.list_names(place) == ["once"]


@pytest.mark.parametrize(
    "place", sorted({*KINDS} - {"memory"}), indirect=True
)  # fsspec's memory:// is no place to race
def test_put_if_absent_has_one_winner(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also among writers that all found the name free: a look before the put is no guard."""
    uri = storage.join(place, "race")
    real, seen = storage_remote._Store._mark, threading.local()

    def free_at_first(store: storage_remote._Store, path: str) -> str | None:
        if not hasattr(seen, "once"):
            seen.once = True
            return None
        return real(store, path)

    monkeypatch.setattr(storage_remote._Store, "_mark", free_at_first)
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


def test_names_are_those_right_under_a_folder(place: str) -> None:
    assert storage.list_names(storage.join(place, "nowhere")) == []
    for name in ("b", "a", "folder/deeper/c", ".a.0123.tmp"):
        storage.write_bytes(storage.join(place, name), b"x")
    assert storage.list_names(place) == ["a", "b", "folder"]


def test_delete_twice(place: str) -> None:
    uri = storage.join(place, "a")
    storage.write_bytes(uri, b"x")
    storage.delete(uri)
    storage.delete(uri)
    assert not storage.exists(uri)
    assert storage.list_names(place) == []


def test_missing_objects_are_named(place: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        storage.read_bytes(storage.join(place, "gone.json"))
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        storage.read_json(storage.join(place, "gone.json"))


def test_json(place: str) -> None:
    uri = storage.join(place, "a.json")
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


def test_what_others_write_is_seen(bucket: str) -> None:
    """A listing once seen says nothing about now."""
    other = boto3.client("s3")
    storage.write_bytes(f"{bucket}/shared/mine", b"x")
    assert storage.list_names(f"{bucket}/shared") == ["mine"]
    other.put_object(Bucket=BUCKET, Key="shared/theirs", Body=b"y")
    assert storage.exists(f"{bucket}/shared/theirs")
    assert storage.list_names(f"{bucket}/shared") == ["mine", "theirs"]
    other.delete_object(Bucket=BUCKET, Key="shared/mine")
    assert not storage.exists(f"{bucket}/shared/mine")
    storage.delete(f"{bucket}/shared/theirs")
    assert storage.list_names(f"{bucket}/shared") == []


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


def test_a_run_on_object_storage(bucket: str, tmp_path: Path) -> None:
    """Import, verify, train, resume and evaluate: no file but the shards' cache is local."""
    data, run = f"{bucket}/data", f"{bucket}/run"
    import_dataset(SyntheticImporter(num_train=8, num_val=4, num_test=4), data)
    config = tmp_path / "config.yaml"
    config.write_text(
        f"data: {{uri: '{data}'}}\nmodel: {{kind: rcn, branches: 2, channels: 4}}\n"
        "schedule: {epochs: 1, batch_size: 8}\n"
        "compute: {precision: fp32, channels_last: false, threads: 1}\n"
    )
    train = ["train", str(config), "--out", run]
    for line, expected in [
        (["data", "verify", data], "3 shards, 16 rows: all whole"),
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
    shard = ShardedDataset(data).manifest.splits["train"][0]
    (cache_folder() / f"{shard.sha256}.arrow").write_bytes(b"bad")


def damage_shard(data: str) -> None:
    shard = ShardedDataset(data).manifest.splits["train"][0]
    damage_cache(data)
    storage.write_bytes(storage.join(data, shard.file), b"bad")


@pytest.mark.parametrize(("damage", "mended"), [(damage_cache, True), (damage_shard, False)])
def test_a_fetched_shard_is_verified(bucket: str, damage: Callable[[str], None], mended: bool) -> None:
    data = f"{bucket}/verified"
    storage.delete(f"{data}/manifest.json")
    import_dataset(SyntheticImporter(num_train=2, num_val=1, num_test=1), data)
    assert ShardedDataset(data).split("train").num_rows == 2
    damage(data)
    if mended:
        assert ShardedDataset(data).split("train").num_rows == 2
    else:
        with pytest.raises(DatasetError, match=rf"damaged shard {data}/shards/train-00000.arrow: 3 bytes instead of"):
            ShardedDataset(data).split("train")
