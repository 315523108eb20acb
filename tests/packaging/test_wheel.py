"""The built wheel, installed in an empty environment outside of the checkout, does what the checkout does.

Nothing is downloaded: the environment sees the packages of the tests' own one through a ``.pth`` file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
Run = Callable[..., str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    line = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir"]
    subprocess.run([*line, str(folder), str(REPOSITORY)], check=True, cwd=folder)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def run(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a program of the environment in a folder of its own, and return what it prints."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    line = [sys.executable, "-m", "pip", "--python", str(scripts / "python"), "install", "--no-deps", "--no-index"]
    subprocess.run([*line, str(wheel)], check=True)
    [packages] = (folder / "env").glob("**/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RCN_SEARCH"))}
    (folder / "work").mkdir()

    def run_program(program: str, *options: str, exit_code: int = 0) -> str:
        done = subprocess.run(
            [str(scripts / program), *options],
            capture_output=True,
            text=True,
            timeout=500,
            cwd=folder / "work",
            env={
                **inherited,
                "COLUMNS": "200",
                "RAY_AUTH_MODE": "disabled",
                "OMP_NUM_THREADS": "1",
                "TYPER_STANDARD_TRACEBACK": "1",
            },
        )
        assert done.returncode == exit_code, (done.stdout + done.stderr)[-3000:]
        return done.stdout + done.stderr

    where = run_program("python", "-c", "import rcn_search, importlib.metadata as m; print(rcn_search.__file__)")
    assert Path(where.strip()).is_relative_to(packages), "another installation is imported"
    return run_program


@pytest.fixture(scope="module")
def data(run: Run) -> str:
    run("rcn-search", "data", "generate", "data", "--train", "48", "--val", "16", "--test", "16")
    return "data"


def test_wheel_carries_the_data_of_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    packaged = [REPOSITORY / "constraints.txt"]
    packaged += [
        path
        for folder in ("search_spaces", "configs", "leaderboard/published")
        for path in REPOSITORY.glob(f"{folder}/*.*")
    ]
    expected = {f"rcn_search/packaged/{path.relative_to(REPOSITORY)}" for path in packaged}
    source = [path for path in REPOSITORY.glob("rcn_search/**/*.*") if path.suffix not in ("", ".pyc")]
    expected |= {str(path.relative_to(REPOSITORY)) for path in source if path.is_file()}
    assert len(packaged) > 20
    assert expected <= names
    assert not [name for name in names if name not in expected and ".dist-info/" not in name]


def test_installed_leaderboard_shows_published_rows(run: Run) -> None:
    text = run("rcn-search", "leaderboard", "--dataset", "300w")
    assert "there is no leaderboard" not in text
    assert "Recombinator" in text or "RCN" in text


def test_installed_leaderboard_accepts_no_entries(run: Run, data: str) -> None:
    text = run("rcn-search", "tune", "quickstart", "--data", data, "--study", "study", exit_code=1)
    assert "there is none" in text
    assert "--leaderboard" in text


def test_installed_reproduce_shows_the_papers_table(run: Run, data: str) -> None:
    tiny_run = '{"RCN 4 branches": {"model.name": "rcn", "model.branches": 2, "model.channels": 8}}'
    options = ["table2", "--data", data, "--epochs", "1", "--set", f"runs={tiny_run}", "--set", "seeds_per_run={}"]
    options += ["--set", "base.compute.precision=fp32"]
    run("rcn-search", "reproduce", *options, "--leaderboard", "leaderboard")
    text = run("rcn-search", "reproduce", *options, "--report-only")
    assert "Table 2" in text
    assert "RCN 4 branches" in text


def test_installed_commands_take_files_of_the_package_by_name(run: Run, data: str) -> None:
    assert "optimizer.lr" in run("rcn-search", "study", "check", "rcn")
    assert "optimizer.lr" in run("rcn-search", "study", "check", "search_spaces/rcn.yaml")
    missing = run("rcn-search", "study", "check", "recombinator", exit_code=1)
    assert "recombinator: no such file; name a YAML file, or one that comes with the package: ablations," in missing
    text = run("rcn-search", "train", "rcn6", "--set", f"data.uri={data}", "--set", "schedule.epoch=1", exit_code=1)
    assert "unknown key 'schedule.epoch'" in text


def test_installed_weights_are_those_of_their_cards(run: Run) -> None:
    names = sorted(path.stem for path in REPOSITORY.glob("rcn_search/weights/*.safetensors"))
    assert f"{len(names)} packaged weights are as they were packaged" in run("rcn-search", "weights", "verify")
    listed = run("rcn-search", "weights", "list")
    assert all(name in listed for name in names)
    loading = "import rcn_search; print(rcn_search.load({!r}).radius_table.coverage)"
    assert all(run("python", "-c", loading.format(name)).strip() == "0.9" for name in names)
    missing = run("rcn-search", "predict", "photo.jpg", "--model", "rcn7", exit_code=1)
    assert f"the models that come with rcn-search: {', '.join(names) or 'none'}" in missing


def test_installed_doctor_knows_the_tested_versions(run: Run) -> None:
    assert "packages as in constraints.txt" in run("rcn-search", "doctor")


def test_installed_search_runs_and_is_resumed(run: Run, data: str) -> None:
    options = ["--data", data, "--study", "small", "--leaderboard", "leaderboard", "--set", "budget.epochs=1"]
    options += ["--set", "scheduler={name: none}", "--set", "base.compute.precision=fp32"]
    text = run("rcn-search", "tune", "quickstart", *options, "--trials", "2")
    assert "2 trials" in text
    text = run("python", "-m", "rcn_search.tune", "quickstart", *options, "--resume", "--trials", "3")
    assert "3 trials" in text
    assert "quickstart RCN" in run("rcn-search", "leaderboard", "--leaderboard", "leaderboard")
    run("rcn-search", "leaderboard", "build-site", "--out", "site", "--leaderboard", "leaderboard")
