"""A password in a URI: every command refuses it, and nothing that is written or shown holds it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors

from rcn_search import storage
from rcn_search.config.schema import TrainConfig
from rcn_search.evaluation.predictions import METADATA_KEY
from rcn_search.leaderboard.records import Entry, add_entry
from rcn_search.training.checkpoint import read_checkpoint
from tests.support.checkpoints import write_untrained
from tests.support.hostile_objects import canonical, put, sha256

SECRET = "HuNtEr2PaSs"
URI = f"http://user:{SECRET}@127.0.0.1:9/data"
LONG_URI = f"http://user:{SECRET * 20}@127.0.0.1:9/data"
KEYS = f"s3://AKIAUSER:{SECRET}/x+y@bucket/data"


def check_unknown(folder: Path, *texts: str) -> None:
    """Check that no file below the folder, no name and no text holds the secret."""
    for path in folder.rglob("*"):
        assert SECRET not in str(path)
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    for text in texts:
        assert SECRET not in text


COMMANDS: list[tuple[object, ...]] = [
    ("train", "rcn6", "--set", "data.uri=SECRET", "--out", "run"),
    ("train", "rcn6", "--set", "data.uri=nowhere", "--out", "SECRET"),
    ("tune", "rcn", "--data", "SECRET", "--study", "study"),
    ("tune", "rcn", "--data", "DATA", "--study", "SECRET", "--set", "test=null"),
    ("evaluate", "best.safetensors", "--data", "SECRET"),
    ("evaluate", "SECRET/best.safetensors", "--data", "nowhere"),
    ("evaluate", "best.safetensors", "--data", "DATA", "--predictions", "SECRET/p.parquet"),
    ("leaderboard", "--leaderboard", "SECRET"),
    ("leaderboard", "build-site", "--leaderboard", "SECRET", "--out", "pages"),
    ("leaderboard", "build-site", "--faces", "SECRET", "--out", "pages"),
    ("leaderboard", "serve", "--leaderboard", "SECRET", "--port", 0),
    ("leaderboard", "rescore", "--all", "--predictions", "SECRET/p.parquet"),
    ("data", "info", "SECRET"),
    ("data", "verify", "SECRET"),
    ("data", "generate", "SECRET", "--train", 1, "--val", 1, "--test", 1),
    ("study", "status", "SECRET"),
]


@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: " ".join(map(str, line[:2])))
def test_command_refuses_a_uri_with_a_password(
    line: tuple[object, ...], cli: Any, tmp_path: Path, tiny_config: TrainConfig
) -> None:
    write_untrained(tiny_config, tmp_path)
    for uri in (URI, LONG_URI, KEYS):
        words = [str(word).replace("SECRET", uri).replace("DATA", tiny_config.data.uri) for word in line]
        check_unknown(tmp_path, problem := cli.fail(*words))
        assert "user name, a password or a key" in problem


def test_config_error_does_not_show_a_password(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("data: {uri: x}\n")
    for value in (f"{{uri: {URI}, surprise: 1}}", f"[{URI}]", URI, f"{{uri: [{LONG_URI}]}}"):
        assert SECRET not in cli.fail("train", "config.yaml", "--set", f"data={value}")


@pytest.fixture
def old_checkpoint(tiny_config: TrainConfig, tmp_path: Path) -> str:
    """A checkpoint of schema version 1, whose configuration holds a password."""
    uri = write_untrained(tiny_config, tmp_path / "run")
    with safetensors.safe_open(uri, "np") as file:
        (key,) = file.metadata()
        info = json.loads(file.metadata()[key])
    info["config"]["data"]["uri"] = URI
    content = Path(uri).read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    for version, name in ((1, "old"), (info["schema_version"], "new")):
        header["__metadata__"][key] = json.dumps(info | {"schema_version": version})
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        body = content[8 + int.from_bytes(content[:8], "little") :]
        put(tmp_path / name, "best.safetensors", len(text).to_bytes(8, "little") + text + body)
    return str(tmp_path / "old" / "best.safetensors")


def test_evaluate_of_an_old_checkpoint_publishes_no_password(
    old_checkpoint: str, cli: Any, tmp_path: Path, synthetic_uri: str
) -> None:
    assert read_checkpoint(old_checkpoint).info.config.data.uri == "http://127.0.0.1:9/data"
    with pytest.raises(ValueError, match="a password or a key") as caught:
        read_checkpoint(str(tmp_path / "new" / "best.safetensors"))
    output = cli.run(
        *("evaluate", old_checkpoint, "--data", synthetic_uri, "--split", "test", "--submit", "--method", "m"),
        *("--predictions", "written/p.parquet"),
    )
    cli.run("leaderboard", "build-site", "--out", "written/site")
    check_unknown(tmp_path / "leaderboard", output, str(caught.value))
    check_unknown(tmp_path / "written")
    assert list((tmp_path / "leaderboard" / "entries").iterdir())
    assert list((tmp_path / "written" / "site" / "config").iterdir())


def test_leaderboard_of_a_stranger_shows_no_password(
    cli: Any, tmp_path: Path, make_entry: Callable[..., Entry], synthetic_uri: str
) -> None:
    folder = tmp_path / "leaderboard"
    document = make_entry(config={"data": {"uri": URI}, "list": [KEYS]}, predictions_uri=URI).model_dump(mode="json")
    text = canonical(document).encode()
    put(folder / "entries", f"20260101T000000Z-x-{sha256(text)[:12]}.json", text)
    output = [cli.run("leaderboard", "--format", kind) for kind in ("table", "csv", "json", "markdown")]
    cli.run("leaderboard", "build-site", "--out", "site")
    check_unknown(tmp_path / "site", *output)
    assert "http://127.0.0.1:9/data" in "".join(path.read_text() for path in (tmp_path / "site" / "config").iterdir())
    added = add_entry(str(tmp_path / "other"), make_entry(config={"data": {"uri": URI}}, predictions_uri=KEYS))
    check_unknown(tmp_path / "other")
    assert storage.read_json(added)["predictions_uri"] == "s3://bucket/data"


def test_predictions_with_a_password_are_added_without_it(
    cli: Any, tmp_path: Path, tiny_config: TrainConfig, synthetic_uri: str
) -> None:
    checkpoint = write_untrained(tiny_config, tmp_path / "run")
    cli.run("evaluate", checkpoint, "--data", synthetic_uri, "--split", "val", "--predictions", "p.parquet")
    table = pq.read_table("p.parquet")
    meta = json.loads(table.schema.metadata[METADATA_KEY])
    meta["config"] = {"data": {"uri": URI}}
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(meta).encode()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    (tmp_path / "p.parquet").write_bytes(sink.getvalue().to_pybytes())
    cli.run(
        "leaderboard",
        "add",
        "p.parquet",
        "--method",
        "m",
        "--data",
        synthetic_uri,
        "--split",
        "val",
        "--force",
        "--yes",
    )
    assert list((tmp_path / "leaderboard" / "predictions").iterdir())
    check_unknown(tmp_path / "leaderboard")
