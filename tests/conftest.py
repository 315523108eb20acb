"""Small real data sets, made once for a test session."""

from __future__ import annotations

import os

# One thread: tests share the machine, and OpenMP threads that wait for each other on busy cores spin for minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rcn_search.config.schema import TrainConfig
from rcn_search.data.importers.mtfl import MtflImporter
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import import_dataset
from rcn_search.data.synthetic import draw_face
from rcn_search.keypoints import FIVE

pytest_plugins = [
    "tests.support.leaderboards",
    "tests.support.networks",
    "tests.support.ray_jobs",
    "tests.support.studies",
    "tests.support.timm",
]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    os.environ["RCN_SEARCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def synthetic_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """96 + 24 + 24 drawn faces with five points."""
    uri = str(tmp_path_factory.mktemp("data") / "synthetic")
    import_dataset(SyntheticImporter(num_train=96, num_val=24, num_test=24), uri)
    return uri


@pytest.fixture
def tiny_config(synthetic_uri: str) -> TrainConfig:
    """A run of a few seconds: three branches of eight channels, two epochs of three batches."""
    return TrainConfig.model_validate(
        {
            "data": {"uri": synthetic_uri},
            "model": {"name": "rcn", "branches": 3, "channels": 8},
            "schedule": {"epochs": 2, "batch_size": 32, "ema_decay": 0.9},
            "compute": {"precision": "fp32", "channels_last": False, "threads": 1},
        }
    )


def write_mtfl(folder: Path, *, num_train: int = 20, num_test: int = 5) -> Path:
    """A folder in the published layout of MTFL, with its quirks, of drawn faces."""
    lines: dict[str, list[str]] = {"training.txt": [], "testing.txt": []}
    for index in range(num_train + num_test):
        file = "training.txt" if index < num_train else "testing.txt"
        relative = f"lfw_5590/face_{index:04d}.jpg" if index < num_train else f"AFLW/{index:04d}-image.jpg"
        face = draw_face(index, FIVE)
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.repeat(face.image[..., None], 3, axis=2)).save(path, quality=95)
        written = relative.replace("/", "\\") if file == "training.txt" else relative
        numbers = " ".join(f"{value:.6f}" for value in face.points.T.reshape(-1))
        attributes = " ".join(str(value + 1) for value in face.attributes.values())
        lines[file].append(f"{written} {numbers} {attributes}")
    (folder / "training.txt").write_bytes("\r\n ".join(lines["training.txt"]).encode() + b"\r\n")
    (folder / "testing.txt").write_bytes("\n ".join(lines["testing.txt"]).encode() + b"\r\n \r\n")
    return folder


@pytest.fixture(scope="session")
def mtfl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty training and five test faces as MTFL publishes them. Copy it before changing anything."""
    return write_mtfl(tmp_path_factory.mktemp("mtfl"))


@pytest.fixture(scope="session")
def mtfl_uri(mtfl_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same, imported."""
    uri = str(tmp_path_factory.mktemp("data") / "mtfl")
    import_dataset(MtflImporter(mtfl_folder), uri)
    return uri


class CommandLine:
    """``rcn-search``, in this process."""

    def run(self, *line: object) -> str:
        """What a command prints that must succeed, its white space as single blanks."""
        from rcn_search.cli.main import app

        result = CliRunner().invoke(app, [*map(str, line)])
        assert result.exit_code == 0, result.output + repr(result.exception)
        return " ".join(result.stdout.split())

    def warn(self, *line: object) -> str:
        """What a command that must succeed prints to standard error."""
        from rcn_search.cli.main import app

        result = CliRunner().invoke(app, [*map(str, line)])
        assert result.exit_code == 0, result.output + repr(result.exception)
        return result.stderr

    def fail(self, *line: object) -> str:
        """The message of a command that must fail as a user can understand: one error, no traceback, exit code 1."""
        from rcn_search.cli.main import app

        result = CliRunner().invoke(app, [*map(str, line)])
        assert isinstance(result.exception, SystemExit), repr(result.exception)
        assert result.exit_code == 1, result.output
        *_, problem = result.stderr.split("error: ", 1)
        assert result.stderr == f"error: {problem}"
        assert "Traceback" not in result.output
        return problem.removesuffix("\n")


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line, in an empty working directory with a leaderboard of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RCN_SEARCH_LEADERBOARD", str(tmp_path / "leaderboard"))
    return CommandLine()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray for all tests that need it, which `run_search` finds and leaves running."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield
        ray.shutdown()


class Server(NamedTuple):
    """An S3 server on this machine, and who may use it."""

    url: str
    access_key: str
    secret_key: str

    def environment(self) -> dict[str, str]:
        """What a user sets."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


BUCKET = "bucket"
STORES = ["file", "memory", "moto", "swift"]
SERVERS = {"moto", "swift"}


@pytest.fixture(scope="session")
def moto() -> Iterator[Server]:
    """The S3 of moto, in this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield with_bucket(Server(f"http://{host}:{port}", "moto", "moto-s3cret-0815"))
    server.stop()


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """OpenStack Swift with its S3 API, in a process of its own (see tests/s3/swift_server.py)."""
    if sys.platform != "linux":
        pytest.skip("OpenStack Swift runs on Linux only")
    line = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("s3") / "swift_server.py")]
    folder = tmp_path_factory.mktemp("swift")
    with subprocess.Popen([*line, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield with_bucket(Server(f"http://127.0.0.1:{int(process.stdout.readline())}", "lab:robot", "swift-s3cret"))
        finally:
            process.terminate()


def with_bucket(server: Server) -> Server:
    """The server, with an empty bucket."""
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=server.url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=BUCKET)
    return server


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A URI at which nothing is, at each kind of place there is."""
    if request.param not in SERVERS:
        return {"file": str(tmp_path / "store"), "memory": f"memory://{uuid.uuid4().hex}"}[request.param]
    return folder_at(request.getfixturevalue(request.param), monkeypatch)


@pytest.fixture
def moto_store(moto: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A URI at which nothing is, at moto's S3."""
    return folder_at(moto, monkeypatch)


def folder_at(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A URI at which nothing is; the environment leads to its server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """At servers all tests of a contract are slow, but those that are marked ``every_store``.

    Of the two processes that share the suite (``--dist loadgroup``) one has all tests that need Ray, longest first of
    all, since a second Ray on two cores starts too slowly; the others go by their file, which shares its fixtures.
    """
    for item in items:
        place = item.callspec.params.get("store") if hasattr(item, "callspec") else None
        if place in SERVERS and not item.get_closest_marker("every_store"):
            item.add_marker(pytest.mark.slow)
        item.add_marker(pytest.mark.xdist_group("ray" if needs_ray(item) else str(item.path)))
    items.sort(key=needs_ray, reverse=True)


def needs_ray(item: pytest.Item) -> bool:
    """Whether a test starts Ray, or finds it started."""
    return "ray_cluster" in item.fixturenames or bool({"cluster", "kills"} & set(item.path.parts))
