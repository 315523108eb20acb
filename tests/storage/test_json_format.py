"""JSON that others wrote: bounds of size, number of values and depth; what is damaged is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rcn_search import storage
from rcn_search.storage import StorageError, json_format


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (nested(json_format.MAX_JSON_DEPTH + 2), "nested too deeply"),
        (b'{"a":' * 102 + b"0" + b"}" * 102, "nested too deeply"),
        (b"[" + b"{}," * 1_000_001 + b"{}]", "too large"),
        (b"[{" + b",".join(b'"%d":0' % n for n in range(50_001)) + b"}]", "too large"),
        (b'"\\ud800"', "not valid JSON"),
        (b"9" * 5_000, "not valid JSON"),
        (b"\xff\xfe\xfd", "not valid JSON"),
        (b"", "not valid JSON"),
    ],
)
def test_decode_json_names_what_it_refuses(content: bytes, reason: str) -> None:
    with pytest.raises(StorageError, match=f"^folder/x.json.*{reason}"):
        storage.decode_json("folder/x.json", content)


def test_decode_json_reads_up_to_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    deepest = nested(json_format.MAX_JSON_DEPTH + 1)
    assert storage.decode_json("x", deepest) == json.loads(deepest)
    assert storage.decode_json("x", b"[" + b"[0]," * 200 + b"0]")[0] == [0]
    assert storage.decode_json("x", b'"\\ud83d\\ude00 \\u00e9"') == "\N{GRINNING FACE} é"
    assert storage.decode_json("x", b'{"a": NaN}').keys() == {"a"}
    monkeypatch.setattr(json_format, "MAX_JSON_BYTES", 8)
    assert storage.decode_json("x", b"[123456]") == [123456]
    with pytest.raises(StorageError, match="at most 8 bytes"):
        storage.decode_json("x", b"[1234567]")


@pytest.mark.every_store
def test_read_bytes_reads_no_more_than_its_bound(store: str) -> None:
    uri = storage.join(store, "x")
    for content in (b"12345", b""):
        storage.write_bytes(uri, content)
        assert storage.read_bytes(uri, max_bytes=5) == content
    storage.write_bytes(uri, b"123456")
    with pytest.raises(StorageError, match="x is too large: of such an object at most 5 bytes"):
        storage.read_bytes(uri, max_bytes=5)
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(storage.join(store, "y"), max_bytes=5)


def test_read_json_refuses_devices_and_pipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", "/dev/null", str(tmp_path / "pipe")):
        with pytest.raises(StorageError, match=f"{path} is a device or a pipe"):
            storage.read_json(path)
    with pytest.raises(IsADirectoryError):
        storage.read_json(str(tmp_path))
