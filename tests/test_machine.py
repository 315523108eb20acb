"""What a process may lack: a name for its user, a home folder, a folder for caches that can be written to."""

from __future__ import annotations

import errno
import getpass
import os
import socket
from pathlib import Path

import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.machine import CacheFolderError, cache_folder, cache_required, user_at_host


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who is in no list and has no HOME."""

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    monkeypatch.delenv("RCN_SEARCH_CACHE", raising=False)


@pytest.mark.parametrize("error", [KeyError("uid not found"), ImportError("pwd"), OSError("no such user")], ids=repr)
def test_user_at_host_of_nameless_user_is_the_number(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def getuser() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", getuser)
    assert user_at_host() == f"uid {os.getuid()}@{socket.gethostname()}"
    monkeypatch.delattr(os, "getuid")
    assert user_at_host() == f"unknown user@{socket.gethostname()}"


def test_user_at_host_of_named_user_is_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    assert user_at_host() == f"ann@{socket.gethostname()}"


@pytest.mark.usefixtures("no_home")
def test_cache_folder_without_home_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="set RCN_SEARCH_CACHE to a folder"):
        cache_folder("probe")
    monkeypatch.setenv("RCN_SEARCH_CACHE", "/fast")
    assert cache_folder("probe") == Path("/fast/probe")


def test_cache_required_names_the_variable_only_in_errors_of_the_disk() -> None:
    message = r"/c: full; s3://b/k must be copied .* set RCN_SEARCH_CACHE"
    with pytest.raises(CacheFolderError, match=message) as raised, cache_required("s3://b/k"):
        raise OSError(errno.ENOSPC, "full", "/c")
    assert isinstance(raised.value, RcnSearchError)
    with pytest.raises(PermissionError, match="of the store"), cache_required("s3://b/k"):
        raise PermissionError("of the store")
