"""Local files: published whole, or not at all."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rcn_search import storage


def test_file_uri_is_a_local_path(tmp_path: Path) -> None:
    storage.write_bytes(f"file://{tmp_path}/a", b"x")
    assert storage.read_bytes(str(tmp_path / "a")) == b"x"
    assert storage.list_names(f"file://{tmp_path}") == ["a"]


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
def test_failed_write_leaves_the_folder_unchanged(
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


def test_write_syncs_the_content_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr("os.fsync", lambda descriptor: seen.append(storage.list_names(str(tmp_path))))
    storage.write_bytes(str(tmp_path / "a"), b"x")
    assert seen == [[], ["a"]]  # of the content, then of the folder


def test_local_path_of_local_and_remote_uris() -> None:
    assert storage.local_path("file:///a/b") == Path("/a/b")
    assert storage.local_path("~/a") == Path.home() / "a"
    with pytest.raises(ValueError, match="s3://a/b is not on this machine's disk"):
        storage.local_path("s3://a/b")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "s3:/bucket/x",
            "s3:/bucket/x has one slash after s3: write s3://bucket/x, or ./s3:/bucket/x if it is a folder",
        ),
        ("file:/data", "write file:///data"),
        ("s3a:/bucket", "write s3a://bucket"),
        ("file://lab1/data", r"names a machine, 'lab1'; write file:///data, or the path alone"),
        ("~nobody-of-that-name/x", "there is no user 'nobody-of-that-name' with a home folder; write the whole path"),
        ("a\0b", "holds a character with the code 0"),
    ],
)
def test_local_path_of_mistaken_uri_is_refused(uri: str, message: str) -> None:
    for access in (storage.local_path, storage.read_bytes, storage.exists, storage.absolute, storage.list_names):
        with pytest.raises(storage.StorageError, match=message):
            access(uri)


def test_local_path_without_home_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as it does for a user who is in no list
    with pytest.raises(storage.StorageError, match="~/x: this user has no home folder; write the whole path"):
        storage.local_path("~/x")


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a/b", "/a/b"),
        ("file://localhost/a/b", "/a/b"),
        ("./s3:/bucket", "s3:/bucket"),
        ("C:/data", "C:/data"),
        ("a:b", "a:b"),
    ],
)
def test_local_path_of_paths_that_look_like_uris(uri: str, path: str) -> None:
    assert storage.is_local(uri)
    assert storage.local_path(uri) == Path(path)
