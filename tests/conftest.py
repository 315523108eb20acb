"""Small real data sets, made once for a test session."""

from __future__ import annotations

import os

# One thread: tests share the machine, and OpenMP threads that wait for each other on busy cores spin for minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rcn_search.config import TrainConfig
from rcn_search.data.importers.base import import_dataset
from rcn_search.data.importers.mtfl import MtflImporter
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.synthetic import draw_face
from rcn_search.keypoints import FIVE


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
            "model": {"kind": "rcn", "branches": 3, "channels": 8},
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
        from rcn_search.cli import app

        result = CliRunner().invoke(app, [*map(str, line)])
        assert result.exit_code == 0, result.output + repr(result.exception)
        return " ".join(result.stdout.split())

    def fail(self, *line: object) -> str:
        """The message of a command that must fail as a user can understand: one error, no traceback, exit code 1."""
        from rcn_search.cli import app

        result = CliRunner().invoke(app, [*map(str, line)])
        assert isinstance(result.exception, SystemExit), repr(result.exception)
        assert result.exit_code == 1, result.output
        *_, problem = result.stderr.split("error: ", 1)
        assert result.stderr == f"error: {problem}"
        assert "Traceback" not in result.output
        return problem.removesuffix("\n")


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line, in an empty working directory with a board of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RCN_SEARCH_BOARD", str(tmp_path / "board"))
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
