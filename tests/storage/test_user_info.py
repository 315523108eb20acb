"""Credentials in URIs are found, refused and removed; what only looks like them stays."""

from __future__ import annotations

import pytest

from rcn_search import storage
from rcn_search.storage import StorageError, hide_user_info, object_store, refuse_user_info, without_user_info

WITH_USER_INFO = [
    ("http://me:secret@host:8080/data", "http://host:8080/data"),
    ("http://me:se:cret@host/data", "http://host/data"),
    ("http://me:sec@ret@host/data", "http://host/data"),
    ("HTTPS://me@host", "HTTPS://host"),
    ("s3://KEY:sec/ret+x=@bucket/data", "s3://bucket/data"),
    ("s3://KEY:/secret@bucket/data", "s3://bucket/data"),
    ("simplecache::s3://KEY:secret@bucket/data", "simplecache::s3://bucket/data"),
    ("abfs://container:secret@account/x", "abfs://account/x"),
    ("ftp://:secret@host/x", "ftp://host/x"),
]
WITHOUT = [
    *("s3://bucket/me@home/data", "http://host:8080/@x", "http://[::1]:8080/a@b", "abfs://container@account.dfs/x"),
    *("/data/me@home", "me@home", "file:///home/me@work", "file://C:/me@work", "memory://x/a:b@c", "s3://bucket"),
    *("github://user:repo@main/x", "http://host?mail=me@home"),
]


@pytest.mark.parametrize(("uri", "hidden"), WITH_USER_INFO)
def test_hide_user_info_removes_it(uri: str, hidden: str) -> None:
    assert hide_user_info(uri) == hidden
    assert hide_user_info(f"reading {uri} failed") == f"reading {hidden} failed"
    with pytest.raises(StorageError) as caught:
        refuse_user_info(uri)
    assert "secret" not in str(caught.value)
    assert hidden in str(caught.value)


@pytest.mark.parametrize("uri", WITHOUT)
def test_hide_user_info_keeps_other_uris(uri: str) -> None:
    assert hide_user_info(uri) == uri
    assert refuse_user_info(uri) == uri


def test_without_user_info_cleans_every_value() -> None:
    document = {"data": {"uri": "http://me:secret@host/d"}, "list": [1, None, ["s3://KEY:secret@b"]]}
    assert without_user_info(document) == {"data": {"uri": "http://host/d"}, "list": [1, None, ["s3://b"]]}
    assert document["data"] == {"uri": "http://me:secret@host/d"}


@pytest.mark.parametrize("call", [storage.read_bytes, storage.exists, storage.list_names, storage.delete])
def test_object_store_refuses_user_info_before_any_request(call: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "_connect", lambda uri: pytest.fail("connected"))
    with pytest.raises(StorageError, match="was given with a user name") as caught:
        call("http://me:secret@127.0.0.1:9/x")  # type: ignore[operator]
    assert "secret" not in str(caught.value)


def test_object_store_message_hides_the_password_of_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        object_store, "_connect", lambda uri: (_ for _ in ()).throw(OSError("Could not connect to http://me:secret@h/"))
    )
    with pytest.raises(OSError, match="Could not connect to http://h/"):
        storage.read_bytes("s3://bucket/x")
